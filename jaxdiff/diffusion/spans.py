"""Training spans: from a training time t down to a second time s.

A rule takes the times that `time_sampling` drew, and may round them up to those of a grid.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from jaxdiff import random
from jaxdiff.diffusion import time_sampling
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.time_sampling import Quantile, Uniform
from jaxdiff.options import Between, NonNegativeFloat, PositiveFloat, Range, Size, checked
from jaxdiff.typing import Span

Time = Float[Array, " b"]
Step = Integer[Array, ""]
Numbered = Annotated[int, Between(2, 2**31 - 1)]
"""A number of intervals: over one, a consistency function would be the mean of the data."""


@runtime_checkable
class Spans(Protocol):
    """A rule for the second time."""

    def __call__(self, process: Process, t: Time, keys: Key[Array, " b"], step: Step) -> Span:
        """Returns a span for each example, with s <= t."""


KIND = Spans


@runtime_checkable
class Grid(Protocol):
    """A number in [0, 1] for each time, 0 at the data."""

    def place(self, process: Process, t: Time) -> Time:
        """Returns the number of a time."""

    def time(self, process: Process, place: Time) -> Time:
        """Returns the time of a number."""


@runtime_checkable
class Curriculum(Protocol):
    """A number of intervals for each step of training; `ends` is the step of the last change."""

    @property
    def ends(self) -> int:
        """Returns the first step with the last number."""

    def intervals(self, step: Step) -> Array:
        """Returns the number of intervals."""


@dataclass(frozen=True)
class EvenGrid:
    """Even in time."""

    def place(self, process: Process, t: Time) -> Time:
        """Returns the time itself."""
        return t

    def time(self, process: Process, place: Time) -> Time:
        """Returns the place itself."""
        return place


@checked
@dataclass(frozen=True)
class KarrasGrid:
    """Even in (sigma/alpha)^(1/rho) from `sigma_min` to `sigma_max` (Karras et al. 2022, eq. 5).

    The lowest time is 0, the data, in place of `sigma_min`: there a consistency function is exact.
    """

    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0
    rho: PositiveFloat = 7.0

    def __post_init__(self):
        if not self.sigma_min < self.sigma_max:
            raise ValueError(
                f"KarrasGrid: sigma_min={self.sigma_min} must be below sigma_max={self.sigma_max}"
            )

    def place(self, process: Process, t: Time) -> Time:
        """Returns where the noise level of t lies between the ends."""
        level = jnp.exp(-0.5 * process.logsnr(t) / self.rho)
        return jnp.clip((level - self._low) / (self._high - self._low), 0, 1)

    def time(self, process: Process, place: Time) -> Time:
        """Returns the time of a noise level between the ends."""
        level = self._low + place * (self._high - self._low)
        return jnp.where(place <= 0, 0.0, process.time(-2 * self.rho * jnp.log(level)))

    @property
    def _low(self) -> float:
        return self.sigma_min ** (1 / self.rho)

    @property
    def _high(self) -> float:
        return self.sigma_max ** (1 / self.rho)


@checked
@dataclass(frozen=True)
class Doubling:
    """From `first` intervals, twice as many after every `every` steps, up to `last`.

    Song & Dhariwal (2024, section 3.4), whose runs of K steps have 10, 1280 and K/8.
    """

    first: Numbered = 10
    last: Numbered = 1280
    every: Size = 50_000

    def __post_init__(self):
        _check_order(self)

    @property
    def ends(self) -> int:
        """Returns the first step with `last` intervals."""
        doublings, reached = 0, self.first
        while reached < self.last:
            doublings, reached = doublings + 1, 2 * reached
        return doublings * self.every

    def intervals(self, step: Step) -> Array:
        """Returns the number of intervals."""
        return jnp.minimum(self.first * 2.0 ** (step // self.every), self.last)


@checked
@dataclass(frozen=True)
class SquareRoot:
    """From `first` to `last` intervals in `steps` steps, as the root of the step.

    Song et al. (2023, appendix C).
    """

    first: Numbered = 2
    last: Numbered = 150
    steps: Size = 800_000

    def __post_init__(self):
        _check_order(self)

    @property
    def ends(self) -> int:
        """Returns the step at which `last` is reached."""
        return self.steps

    def intervals(self, step: Step) -> Array:
        """Returns the number of intervals."""
        share = jnp.minimum(step / self.steps, 1)
        low, high = self.first**2, (self.last + 1) ** 2
        return jnp.minimum(jnp.ceil(jnp.sqrt(low + share * (high - low)) - 1), self.last).clip(
            self.first
        )


def _check_order(curriculum: Doubling | SquareRoot) -> None:
    first, last = curriculum.first, curriculum.last
    if first > last:
        name = type(curriculum).__name__
        raise ValueError(f"{name}: first={first} must be at most last={last}")


@dataclass(frozen=True)
class Intervals:
    """The interval of a grid in which t lies: neighbours in a discretization (Song et al. 2023).

    `count` is the number of intervals, or a curriculum, `Doubling(...)`. A distribution of times
    thereby becomes one of intervals: with `EDMLogNormal` that of Song & Dhariwal (2024, eq. 10).
    """

    count: int | Curriculum = 17
    grid: Grid = KarrasGrid()

    def __post_init__(self):
        if isinstance(self.count, int) and self.count < 2:
            raise ValueError(
                f"Intervals: count={self.count} is not at least 2: over one interval a consistency"
                " function would be the mean of the data"
            )

    def __call__(self, process: Process, t: Time, keys: Key[Array, " b"], step: Step) -> Span:
        """Returns the ends of the interval."""
        count = self.count if isinstance(self.count, int) else self.count.intervals(step)
        end = jnp.clip(jnp.ceil(self.grid.place(process, t) * count * (1 - 1e-6)), 1, count)
        time = lambda n: self.grid.time(process, n / count)
        return Span(time(end), time(end - 1), keys, 1)


@checked
@dataclass(frozen=True)
class Ratio:
    """s = t·(1 - n(t)/q^stage) in noise levels, the gap closing with the stages (Geng et al. 2024).

    n(t) = 1 + k·sigmoid(-b·t), and the stage is 1 at first and one more after every `every` steps,
    up to `stages`: the "mapping" of easy consistency tuning. A negative s is 0.
    """

    q: Annotated[float, Range(gt=1)] = 2.0
    every: Size = 25_000
    stages: Size = 8
    k: NonNegativeFloat = 8.0
    b: float = 1.0

    @property
    def ends(self) -> int:
        """Returns the first step of the last stage."""
        return (self.stages - 1) * self.every

    def __call__(self, process: Process, t: Time, keys: Key[Array, " b"], step: Step) -> Span:
        """Returns t and the time of the lower noise level."""
        stage = jnp.minimum(step // self.every + 1, self.stages)
        # At t = 1 the level may be infinite, and so is the next.
        half = -0.5 * process.logsnr(t)
        shrink = 1 - (1 + self.k * jax.nn.sigmoid(-self.b * jnp.exp(half))) / self.q**stage
        s = process.time(-2 * (half + jnp.log(jnp.maximum(shrink, 1e-30))))
        return Span(t, jnp.where(shrink <= 0, 0.0, jnp.minimum(s, t)), keys, 1)


@checked
@dataclass(frozen=True)
class Gap:
    """s = t - size, at least 0: skipped steps of a solver (Luo et al. 2023, section 4.3)."""

    size: Annotated[float, Range(gt=0, lt=1)] = 0.02

    def __call__(self, process: Process, t: Time, keys: Key[Array, " b"], step: Step) -> Span:
        """Returns t and the earlier time."""
        return Span(t, jnp.maximum(t - self.size, 0), keys, 1)


@checked
@dataclass(frozen=True)
class Pairs:
    """Two times in order, the second drawn from `second`; the same one but for a share `apart`.

    Geng et al. (2025, section 4.3), where both have one distribution.
    """

    second: Annotated[Quantile, time_sampling] = Uniform()
    apart: Annotated[float, Range(gt=0, le=1)] = 0.25

    def __post_init__(self):
        if not isinstance(self.second, Quantile):
            raise ValueError(
                f"Pairs: second={self.second!r} has no quantile; write the likes of 'Uniform()'"
            )

    def __call__(self, process: Process, t: Time, keys: Key[Array, " b"], step: Step) -> Span:
        """Returns the later and the earlier time."""
        other = self.second.quantile(process, random.uniform(random.stream(keys, "until")))
        apart = random.uniform(random.stream(keys, "apart")) < self.apart
        first, last = jnp.maximum(t, other), jnp.minimum(t, other)
        return Span(jnp.where(apart, first, t), jnp.where(apart, last, t), keys, 1)
