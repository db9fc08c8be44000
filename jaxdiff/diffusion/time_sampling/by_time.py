"""Distributions of the time itself."""

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
import numpy as np

from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.time_sampling.base import Uniforms, independent, normal
from jaxdiff.options import PositiveFloat, Range, TableSize
from jaxdiff.trees import pytree
from jaxdiff.typing import Time


@pytree()
@dataclass(frozen=True)
class Uniform:
    """t uniform in (`minimum`, 1)."""

    minimum: Annotated[float, Range(ge=0, lt=1)] = 0.0
    __call__ = independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """Returns 1 - u·(1 - minimum), never exactly `minimum`, where the noise may be zero."""
        return 1 - u * (1 - self.minimum)


@pytree()
@dataclass(frozen=True)
class Discrete:
    """t uniform in {1/steps, ..., 1} (Ho et al. 2020, algorithm 1)."""

    steps: TableSize = 1000
    __call__ = independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """Rounds up to the next step."""
        return (jnp.floor(u * self.steps) + 1) / self.steps


@pytree()
@dataclass(frozen=True)
class LogitNormal:
    """logit(t) normal (Esser et al. 2024, eq. 19)."""

    mean: float = 0.0
    std: PositiveFloat = 1.0
    __call__ = independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """sigmoid(mean + std·z)."""
        return 1 / (1 + jnp.exp(-(self.mean + self.std * normal(u))))


@pytree()
@dataclass(frozen=True)
class Mode:
    """Times crowded around the middle, or thinned there (Esser et al. 2024, section 3.1).

    t = f(u) = 1 - u - scale·(cos²(πu/2) - 1 + u), monotone for a scale in [-1, 2/(π - 2)].
    """

    scale: Annotated[float, Range(ge=-1, le=2 / (np.pi - 2))] = 1.29
    __call__ = independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """f(u), in terms of 1 - u so that nothing cancels near t = 0."""
        return (1 + self.scale) * (1 - u) - self.scale * jnp.sin(0.5 * jnp.pi * (1 - u)) ** 2


@pytree()
@dataclass(frozen=True)
class CosineMap:
    """CosMap: the log-SNR of the cosine schedule, on a rectified flow (Esser et al. 2024).

    t = 1 - 1/(tan(πu/2) + 1), with 1 - u for u, so that it is never exactly 0.
    """

    __call__ = independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """sigma/(alpha + sigma) of the cosine schedule at 1 - u."""
        alpha, sigma = jnp.sin(0.5 * jnp.pi * u), jnp.sin(0.5 * jnp.pi * (1 - u))
        return sigma / (alpha + sigma)
