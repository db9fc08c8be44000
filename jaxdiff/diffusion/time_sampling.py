"""Training times: maps from uniform numbers to t, by inverse distribution functions.

Each has `quantile(process, u)`; calling it draws one independent u per example, and `Stratified`
spreads the batch's numbers evenly instead.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Draw

Numbers = Float[Array, " b"]


@runtime_checkable
class Quantile(Protocol):
    """An inverse distribution function of training times."""

    def quantile(self, process: Process, u: Numbers) -> Numbers:
        """Returns t in [0, 1] from u in [0, 1)."""


@runtime_checkable
class TimeSampling(Protocol):
    """A rule that draws training times."""

    def __call__(self, process: Process, draw: Draw) -> Numbers:
        """Returns t [b]."""


def _independent(self, process: Process, draw: Draw) -> Numbers:
    """Draws one time [b] per example, independently."""
    return self.quantile(process, random.uniform(draw.keys))


@dataclass(frozen=True)
class Uniform:
    """t uniform in (`minimum`, 1)."""

    minimum: float = 0.0
    __call__ = _independent

    def quantile(self, process: Process, u: Numbers) -> Numbers:
        """Never exactly `minimum`, where the noise may be zero."""
        return 1 - u * (1 - self.minimum)


@dataclass(frozen=True)
class Discrete:
    """t uniform in {1/steps, ..., 1} (Ho et al. 2020, algorithm 1)."""

    steps: int = 1000
    __call__ = _independent

    def quantile(self, process: Process, u: Numbers) -> Numbers:
        """Rounds up to the next step."""
        return (jnp.floor(u * self.steps) + 1) / self.steps


@dataclass(frozen=True)
class LogitNormal:
    """logit(t) normal (Esser et al. 2024, eq. 19)."""

    mean: float = 0.0
    std: float = 1.0
    __call__ = _independent

    def quantile(self, process: Process, u: Numbers) -> Numbers:
        """sigmoid(mean + std·z)."""
        return 1 / (1 + jnp.exp(-(self.mean + self.std * _normal(u))))


@dataclass(frozen=True)
class Mode:
    """Times crowded around the middle, or thinned there (Esser et al. 2024, section 3.1).

    t = f(u) = 1 - u - scale·(cos²(πu/2) - 1 + u), monotone for a scale in [-1, 2/(π - 2)].
    """

    scale: float = 1.29
    __call__ = _independent

    def __post_init__(self):
        if not -1 <= self.scale <= 2 / (np.pi - 2):
            raise ValueError(f"Mode: scale={self.scale} is not in [-1, 2/(π - 2)], [-1, 1.75]")

    def quantile(self, process: Process, u: Numbers) -> Numbers:
        """f(u), in terms of 1 - u so that nothing cancels near t = 0."""
        return (1 + self.scale) * (1 - u) - self.scale * jnp.sin(0.5 * jnp.pi * (1 - u)) ** 2


@dataclass(frozen=True)
class CosineMap:
    """The log-SNR of the cosine schedule, on a rectified flow (Esser et al. 2024).

    t = 1 - 1/(tan(πu/2) + 1), read from the other end: never exactly 0.
    """

    __call__ = _independent

    def quantile(self, process: Process, u: Numbers) -> Numbers:
        """sigma/(alpha + sigma) of the cosine schedule at 1 - u."""
        alpha, sigma = jnp.sin(0.5 * jnp.pi * u), jnp.sin(0.5 * jnp.pi * (1 - u))
        return sigma / (alpha + sigma)


@dataclass(frozen=True)
class EDMLogNormal:
    """log(sigma/alpha) normal (Karras et al. 2022, table 1: P_mean, P_std)."""

    mean: float = -1.2
    std: float = 1.2
    __call__ = _independent

    def quantile(self, process: Process, u: Numbers) -> Numbers:
        """The time at which log(sigma/alpha) = mean + std·z; t = 1 beyond the schedule's end."""
        return process.time(-2 * (self.mean + self.std * _normal(u)))


@dataclass(frozen=True)
class Discretized:
    """The times of any distribution, rounded up to {1/steps, ..., 1}."""

    of: Quantile = Uniform()
    steps: int = 1000
    __call__ = _independent

    def __post_init__(self):
        if not isinstance(self.of, Quantile):
            raise ValueError(
                f"Discretized: of={self.of!r} has no quantile; write the likes of 'LogitNormal()', "
                "and Stratified around it all"
            )
        if self.steps < 1:
            raise ValueError(f"Discretized: steps={self.steps} is not at least 1")

    def quantile(self, process: Process, u: Numbers) -> Numbers:
        """Rounds up, but leaves a time that is a step already where it is."""
        t = self.of.quantile(process, u)
        rounding = 4 * jnp.finfo(t.dtype).eps
        return jnp.maximum(jnp.ceil(t * self.steps * (1 - rounding)), 1) / self.steps


@dataclass(frozen=True)
class Stratified:
    """The times of any distribution, evenly spread over the batch (Kingma et al. 2021, I.1)."""

    of: Quantile = Uniform()

    def __call__(self, process: Process, draw: Draw) -> Numbers:
        """Draws one time [b] per example, one in each of b equal strata."""
        return self.of.quantile(process, draw.lattice)


def _normal(u):
    # u = 0 has probability 2^-23 in float32; half a unit keeps it finite.
    return ndtri(jnp.maximum(u, jnp.finfo(u.dtype).eps / 2))
