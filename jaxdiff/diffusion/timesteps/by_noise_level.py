"""Grids of times by noise level sigma/alpha: the same levels on every schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import betaincinv

from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.timesteps.checks import (
    Timesteps,
    before_the_end,
    check_noise_levels,
    check_steps,
    falling,
    reachable,
)
from jaxdiff.options import Between, Count, PositiveFloat, TableSize, checked


@checked
@dataclass(frozen=True)
class Karras:
    """(sigma/alpha)^(1/rho) evenly spaced, then 0 (Karras et al. 2022, eq. 5).

    `sigma_max` is lowered to the highest level of the schedule that floats near t = 1 resolve.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max and rho > 0; when it is called, if two times are
            the same.
    """

    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0
    rho: PositiveFloat = 7.0

    def __post_init__(self):
        check_noise_levels(self)

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps)
        highest = jnp.exp(reachable(process, steps, np.log(self.sigma_max)))
        lowest, more = before_the_end(process, np.log(self.sigma_min))
        ends = highest ** (1 / self.rho), jnp.exp(lowest / self.rho)
        ramp = jnp.linspace(*ends, steps + more)[:steps]
        return falling(self, process, process.time(-2 * self.rho * jnp.log(ramp)))


@checked
@dataclass(frozen=True)
class ConsistencyLevels:
    """Some of the `count` noise levels of `Karras` on which a model was distilled, then 0.

    Steps begin at the levels 0, count//steps, 2·(count//steps), ... from the highest, or at those
    of `indices`, such as (0, 22) of Song et al. 2023, section 6.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max; when it is called, if there are other than
            `steps` indices, or they do not rise within the count.
    """

    count: Annotated[int, Between(2, 2**20)] = 40
    indices: Sequence[Count] = ()
    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0
    rho: PositiveFloat = 7.0

    def __post_init__(self):
        check_noise_levels(self)

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps, at_most=self.count - 1)
        chosen = np.asarray(self.indices or np.arange(steps) * (self.count // steps))
        falls = np.all(np.diff(chosen) > 0) and chosen[-1] < self.count - 1
        if len(chosen) != steps or not falls:
            raise ValueError(
                f"ConsistencyLevels: indices={tuple(chosen.tolist())} must be {steps} numbers, as"
                f" there are steps, that rise and stay below {self.count - 1}, the last level"
            )
        ends = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        levels = np.linspace(*ends, self.count)[chosen] ** self.rho
        return falling(self, process, process.time(-2 * jnp.log(levels)))


@checked
@dataclass(frozen=True)
class Exponential:
    """Even steps in log(sigma/alpha) between two noise levels, then 0.

    `sigma_max` is lowered to the highest level of the schedule that floats near t = 1 resolve.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max; when it is called, if two times are the same.
    """

    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0

    def __post_init__(self):
        check_noise_levels(self)

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps)
        highest = reachable(process, steps, np.log(self.sigma_max))
        lowest, more = before_the_end(process, np.log(self.sigma_min))
        levels = jnp.linspace(highest, lowest, steps + more)[:steps]
        return falling(self, process, process.time(-2 * levels))


@checked
@dataclass(frozen=True)
class LogSNR:
    """Even steps in log-SNR, data after the last, and pure noise before the first where there is.

    `lowest` is raised to the lowest log-SNR of the schedule that floats near t = 1 resolve.

    Raises:
        ValueError: not lowest < highest; when it is called, if two times are the same.
    """

    lowest: float = -10.0
    highest: float = 10.0

    def __post_init__(self):
        if not self.lowest < self.highest:
            raise ValueError(f"LogSNR: lowest={self.lowest} is not below highest={self.highest}")

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps)
        lowest = -2 * reachable(process, steps, -self.lowest / 2)
        pure = int(process.schedule.alpha(jnp.ones(())) == 0)
        last, more = before_the_end(process, -self.highest / 2)
        inner = process.time(jnp.linspace(lowest, -2 * last, steps - pure + more)[: steps - pure])
        return falling(self, process, jnp.concatenate([jnp.ones(pure), inner]))


@checked
@dataclass(frozen=True)
class Respaced:
    """The noise levels sigma/alpha of another grid, spread anew between its first and its last.

    `rule` is "karras", even in (sigma/alpha)^(1/rho); "exponential", even in the logarithm; or
    "beta", quantiles of a Beta distribution with both parameters 0.6 (Lee et al. 2024). The time
    after the last step stays that of `of`.

    Raises:
        ValueError: when it is called, if two times are the same.
    """

    of: Timesteps
    rule: Literal["karras", "exponential", "beta"] = "karras"
    rho: PositiveFloat = 7.0

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing."""
        times = self.of(process, steps)
        levels = -process.logsnr(times[jnp.array([0, -2])]) / 2
        highest, lowest = reachable(process, steps, levels[0]), levels[1]
        ramp = jnp.linspace(0, 1, steps)
        mix = lambda high, low, share: high + (low - high) * share
        if self.rule == "karras":
            high, low = jnp.exp(highest / self.rho), jnp.exp(lowest / self.rho)
            spread = self.rho * jnp.log(mix(high, low, ramp))
        elif self.rule == "exponential":
            spread = mix(highest, lowest, ramp)
        else:
            share = jnp.asarray(betaincinv(0.6, 0.6, np.linspace(0, 1, steps)))
            spread = jnp.log(mix(jnp.exp(highest), jnp.exp(lowest), share))
        found = falling(self, process, process.time(-2 * spread))
        return found.at[-1].set(times[-1])


ALIGNED = {
    "sd15": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "deepfloyd": (160.41, 8.081, 3.315, 1.885, 1.207, 0.785, 0.553, 0.293, 0.186, 0.030, 0.006),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
"""sigma/alpha of the ten-step grids of Sabour et al. (2024, table 3)."""


@checked
@dataclass(frozen=True)
class AlignYourSteps:
    """A grid optimised for a released model, log-linear between its ten steps (Sabour et al. 2024).

    The last noise level is left out for 0.

    Raises:
        ValueError: there is no table of this name; when it is called, if the schedule has less
            noise than the table begins with.
    """

    model: Literal["sd15", "sdxl", "deepfloyd", "svd"] = "sd15"

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""
        check_steps(steps)
        table = np.log(ALIGNED[self.model])
        places = np.linspace(0, len(table) - 1, steps + 1)[:-1]
        levels = jnp.asarray(np.interp(places, np.arange(len(table)), table))
        most = -process.logsnr(jnp.ones(())) / 2
        if most < table[0] - 0.01:
            raise ValueError(
                f"AlignYourSteps: model={self.model!r} begins at a noise level sigma/alpha of "
                f"{np.exp(table[0]):.4g}, but {process.schedule} ends at {np.exp(most):.4g}"
            )
        return falling(self, process, process.time(-2 * levels))


@checked
@dataclass(frozen=True)
class Restarting:
    """A grid that goes back up from `low` to `high`, `repeats` times (Xu et al. 2023).

    `low` and `high` are noise levels sigma/alpha, met to the nearest time of the grid; each way
    down again takes `steps` even steps in log(sigma/alpha). For the solver `Restart`.

    Raises:
        ValueError: low is not below high, or there are no repeats or steps; when it is called, if
            the grid's nearest time is not below `high`.
    """

    of: Timesteps = Karras()
    low: PositiveFloat = 0.1
    high: PositiveFloat = 1.0
    steps: TableSize = 4
    repeats: TableSize = 2

    def __post_init__(self):
        if not self.low < self.high:
            raise ValueError(f"Restarting: low={self.low} is not below high={self.high}")

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns the grid's times with the ways up and down again in between."""
        times = self.of(process, steps)
        levels = -process.logsnr(times) / 2
        at = int(jnp.argmin(jnp.abs(levels - np.log(self.low))))
        high = reachable(process, self.steps, np.log(self.high))
        if not levels[at] < high:
            raise ValueError(
                f"Restarting: of {len(times) - 1} steps of {self.of}, none stops near "
                f"low={self.low} and below high={self.high}; take more steps"
            )
        again = process.time(-2 * jnp.linspace(high, levels[at], self.steps + 1))
        again = again.at[-1].set(times[at])
        return jnp.concatenate([times[: at + 1], *[again] * self.repeats, times[at + 1 :]])
