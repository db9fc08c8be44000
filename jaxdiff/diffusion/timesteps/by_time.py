"""Grids of times by time: even or dense in t, or a model's discrete times."""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import betaincinv

from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.timesteps.checks import check_steps, falling
from jaxdiff.options import Between, Count, PositiveFloat, Range, TableSize, checked


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
    `end` is the discrete time after the last step: 0 for data, 1 for the first of the model's.
    """

    train_steps: TableSize = 1000
    end: Annotated[int, Between(0, 1)] = 0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps, self.train_steps)
        index = np.round(self.train_steps * np.arange(steps, 0, -1) / steps)
        return _times(index, self.end, self.train_steps)


@checked
@dataclass(frozen=True)
class Leading:
    """Discrete times counted up from the first one (DDIM's; Lin et al. 2024, table 2).

    `offset` makes all of them noisier by this number of discrete times. With `spare`, they are the
    noisier ones of a grid of one step more, as DPM-Solver's authors count. `end` is the discrete
    time after the last step: 0 for data, 1 for the first of the model's.
    """

    train_steps: TableSize = 1000
    offset: Count = 0
    spare: bool = False
    end: Annotated[int, Between(0, 1)] = 0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0.

        Raises:
            ValueError: the offset leads beyond the last discrete time.
        """
        check_steps(steps, self.train_steps - self.spare)
        between = self.train_steps // (steps + self.spare)
        index = (np.arange(steps)[::-1] + self.spare) * between + 1 + self.offset
        if index[0] > self.train_steps:
            raise ValueError(
                f"Leading: offset={self.offset} with steps={steps} begins at {index[0]}, beyond"
                f" train_steps={self.train_steps}; take fewer steps"
            )
        return _times(index, self.end, self.train_steps)


@checked
@dataclass(frozen=True)
class Linspace:
    """Discrete times evenly spread from the last to the first, then 0 (Lin et al. 2024, table 2).

    With `round` False, times may lie between the model's steps. `spare` and `end` are as for
    `Leading`.
    """

    train_steps: TableSize = 1000
    round: bool = True
    spare: bool = False
    end: Annotated[int, Between(0, 1)] = 0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps, self.train_steps - self.spare)
        count, last = steps + self.spare, self.train_steps - 1
        # Counted from below and turned: halves round to the side that other libraries round to.
        index = np.linspace(0, last, count)[::-1][:steps] if count > 1 else np.full(1, last)
        return _times((np.round(index) if self.round else index) + 1, self.end, self.train_steps)


@checked
@dataclass(frozen=True)
class Skipping:
    """Some of `of` even discrete times: those that a consistency model was distilled on.

    A latent consistency model is asked at times of the solver of its teacher (Luo et al., 2023,
    section 4.3), the last one first.
    """

    train_steps: TableSize = 1000
    of: TableSize = 50

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps, self.of)
        own = np.arange(self.of, 0, -1) * (self.train_steps // self.of)
        return _times(own[np.arange(steps) * self.of // steps], 0, self.train_steps)


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


@checked
@dataclass(frozen=True)
class Shifted:
    """Even times of a rectified flow, moved to more noise by a shift (Esser et al. 2024, eq. 23).

    t' = shift·t/(1 + (shift - 1)·t), and 0 at the end. Of the model's discrete times, t takes even
    steps from the last to the first, which is already shifted ("euler", as in the code of Stable
    Diffusion 3); from the last to the first, which is left out ("unipc"); or from the last but one
    to 0, which is left out ("dpm").
    """

    shift: PositiveFloat = 3.0
    train_steps: TableSize = 1000
    counted: Literal["euler", "unipc", "dpm"] = "euler"

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps)
        move = lambda t: self.shift * t / (1 + (self.shift - 1) * t)
        first = 1 / self.train_steps
        even = {
            "euler": lambda: np.linspace(1, move(first), steps),
            "unipc": lambda: np.linspace(1, first, steps + 1)[:-1],
            "dpm": lambda: np.linspace(1 - first, 0, steps + 1)[:-1],
        }
        times = move(even[self.counted]())
        # UniPC's corrector reads the noise level of the first time, which is none at t = 1.
        return _times(np.minimum(times, 1 - 1e-6) if self.counted == "unipc" else times, 0, 1)


def _times(index: np.ndarray, end: int, train_steps: int) -> Float[Array, " times"]:
    """Returns discrete times, with one more after the last step, as times in [0, 1]."""
    return jnp.asarray(np.append(index, end) / train_steps, jnp.result_type(float))
