"""Decay rates of the exponential moving average of the parameters, kept in float32."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff.options import PositiveFloat, Share, checked
from jaxdiff.typing import Params

Step = Integer[Array, ""]
Rate = Float[Array, ""]


@runtime_checkable
class Decay(Protocol):
    """A decay rate for each step."""

    def __call__(self, step: Step, batch_size: int) -> Rate:
        """Returns the share of the old average that is kept at optimizer step `step` (from 0)."""


KIND = Decay
"""The kind of objects that the names of this module build."""


@checked
@dataclass(frozen=True)
class Constant:
    """The same rate at every step (Ho et al. 2020, appendix B)."""

    decay: Share = 0.9999

    def __call__(self, step: Step, batch_size: int) -> Rate:
        """Returns `decay`."""
        return jnp.asarray(self.decay, jnp.float32)


@checked
@dataclass(frozen=True)
class Warmup:
    """min(decay, (1 + step)/(10 + step)): forgets the initial parameters quickly."""

    decay: Share = 0.9999

    def __call__(self, step: Step, batch_size: int) -> Rate:
        """Returns the rate, rising from 0.1 to `decay`."""
        return jnp.minimum(self.decay, (1 + step) / (10 + step)).astype(jnp.float32)


@checked
@dataclass(frozen=True)
class HalfLife:
    """A half-life in training images (Karras et al. 2022, F.3), ramped up as in their code."""

    images: PositiveFloat = 500_000
    rampup: PositiveFloat = 0.05

    def __call__(self, step: Step, batch_size: int) -> Rate:
        """Returns ½^(batch_size/half-life), the half-life at most `rampup` of the images seen."""
        seen = jnp.maximum(step.astype(jnp.float32) * batch_size, 1e-8)
        half_life = jnp.minimum(self.images, self.rampup * seen)
        return 0.5 ** (batch_size / half_life)


def update(average: Params, params: Params, decay: Rate) -> Params:
    """Moves the average by 1 - decay towards the parameters, in float32."""
    return jax.tree.map(lambda a, p: a + (1 - decay) * (p.astype(a.dtype) - a), average, params)
