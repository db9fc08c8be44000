"""Grids of times by time: even or dense in t, or a model's discrete times."""

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import betaincinv

from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.timesteps.checks import check_steps, falling
from jaxdiff.options import PositiveFloat, Range, TableSize, checked


@checked
@dataclass(frozen=True)
class Uniform:
    """Evenly spaced in t from `start` to 0."""

    start: Annotated[float, Range(gt=0, le=1)] = 1.0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps)
        return jnp.linspace(self.start, 0.0, steps + 1)


@checked
@dataclass(frozen=True)
class Power:
    """t = u^power for even u: dense near the data for a power above 1 (2: DDIM's quadratic)."""

    power: PositiveFloat = 2.0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing from 1 to 0."""
        check_steps(steps)
        return falling(self, process, jnp.linspace(1.0, 0.0, steps + 1)[:-1] ** self.power)


@checked
@dataclass(frozen=True)
class Beta:
    """Quantiles of a Beta distribution: dense at both ends for a, b below 1 (Lee et al. 2024)."""

    a: PositiveFloat = 0.6
    b: PositiveFloat = 0.6

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing from 1 to 0."""
        check_steps(steps)
        t = betaincinv(self.a, self.b, np.linspace(1.0, 0.0, steps + 1)[:-1])
        return falling(self, process, jnp.asarray(t, jnp.result_type(float)))


@checked
@dataclass(frozen=True)
class Trailing:
    """Discrete times counted down from the last one, so that the first is pure noise.

    The spacing that Lin et al. (2024, section 3.3) recommend for a model of `train_steps` steps.
    """

    train_steps: TableSize = 1000

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps, self.train_steps)
        index = np.round(self.train_steps * np.arange(steps, -1, -1) / steps)
        return jnp.asarray(index / self.train_steps, jnp.result_type(float))


@checked
@dataclass(frozen=True)
class Leading:
    """Discrete times counted up from the first one (DDIM's; Lin et al. 2024, table 2)."""

    train_steps: TableSize = 1000

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps, self.train_steps)
        index = np.arange(steps) * (self.train_steps // steps) + 1
        index = np.concatenate([index[::-1], [0]])
        return jnp.asarray(index / self.train_steps, jnp.result_type(float))


@checked
@dataclass(frozen=True)
class Linspace:
    """Discrete times evenly spread from the last to the first, then 0 (Lin et al. 2024, table 2).

    With `round` False, times may lie between the model's steps.
    """

    train_steps: TableSize = 1000
    round: bool = True

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps, self.train_steps)
        index = np.linspace(self.train_steps, 1, steps)
        index = np.append(np.round(index) if self.round else index, 0)
        return jnp.asarray(index / self.train_steps, jnp.result_type(float))


@checked
@dataclass(frozen=True)
class SGMUniform:
    """Even steps from the last of a model's discrete times to the first, which is left out.

    As in the generative-models code of Stability AI: steps + 1 even times, the last replaced by 0.
    """

    train_steps: TableSize = 1000

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps)
        index = np.linspace(self.train_steps, 1, steps + 1)
        index[-1] = 0
        return jnp.asarray(index / self.train_steps, jnp.result_type(float))
