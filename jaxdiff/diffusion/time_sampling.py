"""Training times: maps from uniform numbers to t, by inverse distribution functions.

Each has `quantile(process, u)`; calling it draws one independent u per example. `Stratified`
spreads the batch's numbers evenly instead, and `LossAware` puts them where losses are large.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from jaxdiff import options, random
from jaxdiff.diffusion.process import Process
from jaxdiff.options import Between, Count, PositiveFloat, Range, Share, TableSize
from jaxdiff.trees import pytree
from jaxdiff.typing import Draw, Metrics, Time, Times

Uniforms = Float[Array, "b *frames"]
"""Numbers in [0, 1)."""


@runtime_checkable
class Quantile(Protocol):
    """An inverse distribution function of training times."""

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """Returns t in [0, 1] from u in [0, 1)."""


@runtime_checkable
class TimeSampling(Protocol):
    """A distribution of training times."""

    def __call__(self, process: Process, draw: Draw) -> Times:
        """Returns t and its importance, the factor of the loss: 1 without importance sampling.

        Both are [b], or [b, f] with a time for each frame.
        """


KIND = TimeSampling
"""The kind of objects that the names of this module build."""


def _independent(self, process: Process, draw: Draw) -> Times:
    """Draws one time [b] per example, independently."""
    return _wanted(self.quantile(process, random.uniform(random.stream(draw.keys, "time"))))


def _wanted(t):
    return Times(t, jnp.ones_like(t))


@pytree()
@dataclass(frozen=True)
class Uniform:
    """t uniform in (`minimum`, 1)."""

    minimum: Annotated[float, Range(ge=0, lt=1)] = 0.0
    __call__ = _independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """Returns 1 - u·(1 - minimum), never exactly `minimum`, where the noise may be zero."""
        return 1 - u * (1 - self.minimum)


@pytree()
@dataclass(frozen=True)
class Discrete:
    """t uniform in {1/steps, ..., 1} (Ho et al. 2020, algorithm 1)."""

    steps: TableSize = 1000
    __call__ = _independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """Rounds up to the next step."""
        return (jnp.floor(u * self.steps) + 1) / self.steps


@pytree()
@dataclass(frozen=True)
class LogitNormal:
    """logit(t) normal (Esser et al. 2024, eq. 19)."""

    mean: float = 0.0
    std: PositiveFloat = 1.0
    __call__ = _independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """sigmoid(mean + std·z)."""
        return 1 / (1 + jnp.exp(-(self.mean + self.std * _normal(u))))


@pytree()
@dataclass(frozen=True)
class Mode:
    """Times crowded around the middle, or thinned there (Esser et al. 2024, section 3.1).

    t = f(u) = 1 - u - scale·(cos²(πu/2) - 1 + u), monotone for a scale in [-1, 2/(π - 2)].
    """

    scale: Annotated[float, Range(ge=-1, le=2 / (np.pi - 2))] = 1.29
    __call__ = _independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """f(u), in terms of 1 - u so that nothing cancels near t = 0."""
        return (1 + self.scale) * (1 - u) - self.scale * jnp.sin(0.5 * jnp.pi * (1 - u)) ** 2


@pytree()
@dataclass(frozen=True)
class CosineMap:
    """CosMap: the log-SNR of the cosine schedule, on a rectified flow (Esser et al. 2024).

    t = 1 - 1/(tan(πu/2) + 1), with 1 - u for u, so that it is never exactly 0.
    """

    __call__ = _independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """sigma/(alpha + sigma) of the cosine schedule at 1 - u."""
        alpha, sigma = jnp.sin(0.5 * jnp.pi * u), jnp.sin(0.5 * jnp.pi * (1 - u))
        return sigma / (alpha + sigma)


@pytree()
@dataclass(frozen=True)
class EDMLogNormal:
    """log(sigma/alpha) normal (Karras et al. 2022, table 1: P_mean, P_std)."""

    mean: float = -1.2
    std: PositiveFloat = 1.2
    __call__ = _independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """The time at which log(sigma/alpha) = mean + std·z; t = 1 beyond the schedule's end."""
        return process.time(-2 * (self.mean + self.std * _normal(u)))


@pytree()
@dataclass(frozen=True)
class Discretized:
    """Another distribution's times, rounded up to {1/steps, ..., 1}."""

    of: Quantile = Uniform()
    steps: TableSize = 1000
    __call__ = _independent

    def __post_init__(self):
        if not isinstance(self.of, Quantile):
            raise ValueError(
                f"Discretized: of={self.of!r} has no quantile; write the likes of 'LogitNormal()', "
                "and Stratified around it all"
            )

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """Rounds up to the next step; a time that is a step already stays."""
        t = self.of.quantile(process, u)
        rounding = 4 * jnp.finfo(t.dtype).eps
        return jnp.maximum(jnp.ceil(t * self.steps * (1 - rounding)), 1) / self.steps


@pytree()
@dataclass(frozen=True)
class Stratified:
    """Another distribution's times, stratified over the batch (Kingma et al. 2021, I.1)."""

    of: Quantile = Uniform()

    def __call__(self, process: Process, draw: Draw) -> Times:
        """Draws one time [b] per example, one in each of b equal strata."""
        return _wanted(self.of.quantile(process, draw.stratified_u))


@pytree()
@dataclass(frozen=True)
class PerFrame:
    """Independent times of each of `frames` frames (Chen, B. et al. 2024, diffusion forcing).

    The first `held` frames are given: their time is `held_at`, which the network sees as nearly
    clean, and their loss has the factor 0.
    """

    frames: TableSize
    of: Quantile = Uniform()
    held: Count = 0
    held_at: Share = 0.0

    def __post_init__(self):
        if self.held >= self.frames:
            raise ValueError(f"PerFrame: held={self.held} must be fewer than frames={self.frames}")

    def __call__(self, process: Process, draw: Draw) -> Times:
        """Draws times [b, frames]."""
        keys = random.stream(draw.keys, "time")
        draws = [random.uniform(random.fold_in(keys, i)) for i in range(self.frames)]
        t = self.of.quantile(process, jnp.stack(draws, axis=1))
        given = jnp.arange(self.frames) < self.held
        return Times(jnp.where(given, self.held_at, t), jnp.where(given, 0.0, jnp.ones_like(t)))


@pytree()
@dataclass(frozen=True)
class LossAware:
    """Importance sampling by the losses seen so far (Nichol & Dhariwal 2021, section 3.4).

    In each of `bins` equal parts of another distribution, times are drawn with a density p that is
    proportional to √E[loss²], and losses are divided by p: the mean stays the same, with less
    variance. E[loss²] is a running mean that keeps the share `decay` a step. The share `floor` of
    the times is spread evenly, and all of them until every part has had an example. Numbers are
    stratified over the batch.
    """

    of: Quantile = Uniform()
    bins: Annotated[int, Between(2, 100_000)] = 100
    decay: Annotated[float, Range(gt=0, lt=1)] = 0.99
    floor: Annotated[float, Range(gt=0, le=1)] = 0.01
    statistics: options.Learned = None

    def begin(self) -> dict[str, Float[Array, " bins"]]:
        """Returns empty sums: of squared losses, and of examples."""
        return {"squared": jnp.zeros(self.bins), "count": jnp.zeros(self.bins)}

    def bind(self, statistics: Any) -> "LossAware":
        """Returns the sampling with these statistics."""
        return replace(self, statistics=statistics)

    def density(self) -> Float[Array, " bins"]:
        """Returns p in each part, of mean one."""
        seen = self.statistics or self.begin()
        count = seen["count"]
        root = jnp.sqrt(seen["squared"] / jnp.where(count > 0, count, 1))
        mean = root.mean()
        known = (count > 0).all() & (mean > 0)
        p = jnp.where(known, root / jnp.where(known, mean, 1), 1.0)
        return self.floor + (1 - self.floor) * p

    def __call__(self, process: Process, draw: Draw) -> Times:
        """Draws one time [b] per example."""
        place = self._place(draw)
        return Times(self.of.quantile(process, place), 1 / self.density()[self._bin(place)])

    def observe(self, draw: Draw, loss: Float[Array, "b *frames"], metrics: Metrics) -> Any:
        """Returns each part's share of the squared losses and of the examples."""
        inside = jax.nn.one_hot(self._bin(self._place(draw)), self.bins)
        plain = jax.lax.stop_gradient(loss / metrics["importance"])
        return {"squared": plain**2 @ inside / len(loss), "count": inside.mean(axis=0)}

    def absorb(self, observed: Any) -> dict[str, Float[Array, " bins"]]:
        """Returns the old sums, a little of them forgotten, and the new."""
        return jax.tree.map(lambda old, new: self.decay * old + new, self.statistics, observed)

    def _place(self, draw):
        """Returns where each example's number falls in the other distribution: P^-1(u)."""
        edges = jnp.linspace(0, 1, self.bins + 1)
        reached = jnp.concatenate([jnp.zeros(1), jnp.cumsum(self.density()) / self.bins])
        return jnp.minimum(jnp.interp(draw.stratified_u, reached, edges), 1 - 2**-24)

    def _bin(self, place):
        return jnp.minimum((place * self.bins).astype(int), self.bins - 1)


def _normal(u):
    # u = 0 has probability 2^-23 in float32; half a unit keeps it finite.
    return ndtri(jnp.maximum(u, jnp.finfo(u.dtype).eps / 2))
