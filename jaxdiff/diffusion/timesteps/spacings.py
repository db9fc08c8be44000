"""Timestep grids: the decreasing times [steps + 1] at which a solver stops, ending at the data."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import betaincinv

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


@dataclass(frozen=True)
class Exponential:
    """Even steps in log(sigma/alpha) between two noise levels, then 0.

    `sigma_max` is lowered to what the schedule reaches.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        _check_steps(steps)
        highest = jnp.minimum(self.sigma_max, jnp.exp(-process.logsnr(jnp.ones(())) / 2))
        times = process.time(-2 * jnp.linspace(jnp.log(highest), np.log(self.sigma_min), steps))
        return jnp.append(times, 0.0)


@dataclass(frozen=True)
class LogSNR:
    """Even steps in log-SNR, pure noise before the first and data after the last."""

    lowest: float = -10.0
    highest: float = 10.0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing from 1 to 0."""
        _check_steps(steps)
        lowest = jnp.maximum(self.lowest, process.logsnr(jnp.ones(())) + 1e-3)
        inner = process.time(jnp.linspace(lowest, self.highest, max(steps - 1, 0)))
        return jnp.concatenate([jnp.ones(1), inner, jnp.zeros(1)])


@dataclass(frozen=True)
class Power:
    """t = u^power for even u: dense near the data for a power above 1 (2: DDIM's quadratic)."""

    power: float = 2.0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing from 1 to 0."""
        _check_steps(steps)
        return jnp.linspace(1.0, 0.0, steps + 1) ** self.power


@dataclass(frozen=True)
class Linspace:
    """Discrete times evenly spread from the last to the first, then 0 (Lin et al. 2024, table 2).

    Between whole steps of the model where `round` is False.
    """

    train_steps: int = 1000
    round: bool = True

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        _check_steps(steps, self.train_steps)
        index = np.linspace(self.train_steps, 1, steps)
        index = np.append(np.round(index) if self.round else index, 0)
        return jnp.asarray(index / self.train_steps, jnp.result_type(float))


@dataclass(frozen=True)
class SGMUniform:
    """Even steps from the last of a model's discrete times to the first, which is left out.

    As in the generative-models code of Stability AI: steps + 1 even times, the last replaced by 0.
    """

    train_steps: int = 1000

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        _check_steps(steps)
        index = np.linspace(self.train_steps, 1, steps + 1)
        index[-1] = 0
        return jnp.asarray(index / self.train_steps, jnp.result_type(float))


@dataclass(frozen=True)
class Beta:
    """Quantiles of a Beta distribution: dense at both ends for a, b below 1 (Lee et al. 2024)."""

    a: float = 0.6
    b: float = 0.6

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing from 1 to 0."""
        _check_steps(steps)
        u = np.linspace(1.0, 0.0, steps + 1)
        return jnp.asarray(betaincinv(self.a, self.b, u), jnp.result_type(float))


ALIGNED = {
    "sd15": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
"""sigma/alpha of the ten-step grids that Sabour et al. (2024) publish."""


@dataclass(frozen=True)
class AlignYourSteps:
    """A grid optimised for a released model, log-linear between its ten steps (Sabour et al. 2024).

    Raises:
        ValueError: there is no table of this name.
    """

    model: str = "sd15"

    def __post_init__(self):
        if self.model not in ALIGNED:
            raise ValueError(f"AlignYourSteps: model={self.model!r}; known: {', '.join(ALIGNED)}")

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        _check_steps(steps)
        table = np.log(ALIGNED[self.model])
        places = np.linspace(0, len(table) - 1, steps + 1)[:-1]
        times = process.time(-2 * jnp.asarray(np.interp(places, np.arange(len(table)), table)))
        if len(times) > 1 and times[0] == times[1]:
            raise ValueError(
                f"AlignYourSteps: {process.schedule} does not reach the noise of {self.model!r}"
            )
        return jnp.append(times, 0.0)


@dataclass(frozen=True)
class Restarting:
    """A grid that goes back up from `low` to `high`, `repeats` times (Xu et al. 2023).

    `low` and `high` are noise levels sigma/alpha, met to the nearest time of the grid; each way
    down again takes `steps` even steps in log(sigma/alpha). For the solver `Restart`.

    Raises:
        ValueError: low is not below high, or there are no repeats or steps.
    """

    of: Timesteps = Karras()
    low: float = 0.1
    high: float = 1.0
    steps: int = 4
    repeats: int = 2

    def __post_init__(self):
        if not 0 < self.low < self.high or self.repeats < 1 or self.steps < 1:
            raise ValueError(
                f"Restarting: low={self.low} must be positive and below high={self.high}, "
                f"steps={self.steps} and repeats={self.repeats} at least 1"
            )

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns the grid's times with the ways up and down again in between."""
        times = self.of(process, steps)
        levels = -process.logsnr(times) / 2
        at = int(jnp.argmin(jnp.abs(levels - np.log(self.low))))
        high = jnp.minimum(np.log(self.high), -process.logsnr(jnp.ones(())) / 2)
        again = process.time(-2 * jnp.linspace(high, levels[at], self.steps + 1))
        again = again.at[-1].set(times[at])
        return jnp.concatenate([times[: at + 1], *[again] * self.repeats, times[at + 1 :]])


def _check_steps(steps, at_most=None):
    if steps < 1 or (at_most is not None and steps > at_most):
        limit = "at least 1" if at_most is None else f"from 1 to {at_most}"
        raise ValueError(f"steps={steps}: a solver takes {limit} steps on this grid")
