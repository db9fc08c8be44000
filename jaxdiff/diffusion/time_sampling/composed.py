"""Distributions made of another: rounded, stratified, of each frame, by the losses seen."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff import options, random
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.time_sampling.base import Quantile, Uniforms, independent, wanted
from jaxdiff.diffusion.time_sampling.by_time import Uniform
from jaxdiff.options import Between, Count, PositiveFloat, Range, Share, TableSize
from jaxdiff.trees import pytree
from jaxdiff.typing import Draw, Metrics, Time, Times


@pytree()
@dataclass(frozen=True)
class Discretized:
    """Another distribution's times, rounded up to {1/steps, ..., 1}."""

    of: Quantile = Uniform()
    steps: TableSize = 1000
    __call__ = independent

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
        return wanted(self.of.quantile(process, draw.stratified_u))


@pytree()
@dataclass(frozen=True)
class WithLevel:
    """One noise level, `sigma` = sigma/alpha, for a share of the examples; else another's times."""

    sigma: PositiveFloat
    share: Share = 0.25
    of: Quantile = Uniform()
    __call__ = independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """The level's time below u = share, above it the other's."""
        level = process.time(jnp.full_like(u, -2 * np.log(self.sigma)))
        rest = jnp.clip((u - self.share) / max(1 - self.share, 1e-6), 0, 1)
        return jnp.where(u < self.share, level, self.of.quantile(process, rest))


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
