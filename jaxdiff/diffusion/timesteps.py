"""Timestep grids: the decreasing times [steps + 1] at which a solver stops, ending at the data."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.diffusion.process import Process


@runtime_checkable
class Timesteps(Protocol):
    """A rule that places times."""

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""


@dataclass(frozen=True)
class Uniform:
    """Evenly spaced in t from `start` to 0."""

    start: float = 1.0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        _check_steps(steps)
        return jnp.linspace(self.start, 0.0, steps + 1)


@dataclass(frozen=True)
class Trailing:
    """Discrete times counted down from the last one, so that the first is pure noise.

    The spacing that Lin et al. (2024, section 3.3) recommend for a model of `train_steps` steps.
    """

    train_steps: int = 1000

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        _check_steps(steps, self.train_steps)
        index = np.round(self.train_steps * np.arange(steps, -1, -1) / steps)
        return jnp.asarray(index / self.train_steps, jnp.result_type(float))


@dataclass(frozen=True)
class Leading:
    """Discrete times counted up from the first one (DDIM's; Lin et al. 2024, table 2)."""

    train_steps: int = 1000

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        _check_steps(steps, self.train_steps)
        index = np.arange(steps) * (self.train_steps // steps) + 1
        index = np.concatenate([index[::-1], [0]])
        return jnp.asarray(index / self.train_steps, jnp.result_type(float))


@dataclass(frozen=True)
class Karras:
    """(sigma/alpha)^(1/rho) evenly spaced, then 0 (Karras et al. 2022, eq. 5).

    `sigma_max` is lowered to what the schedule reaches.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        _check_steps(steps)
        highest = jnp.minimum(self.sigma_max, jnp.exp(-process.logsnr(jnp.ones(())) / 2))
        ramp = jnp.linspace(highest ** (1 / self.rho), self.sigma_min ** (1 / self.rho), steps)
        times = process.time(-2 * self.rho * jnp.log(ramp))
        return jnp.append(times, 0.0)


def _check_steps(steps, at_most=None):
    if steps < 1 or (at_most is not None and steps > at_most):
        limit = "at least 1" if at_most is None else f"from 1 to {at_most}"
        raise ValueError(f"steps={steps}: a solver takes {limit} steps on this grid")
