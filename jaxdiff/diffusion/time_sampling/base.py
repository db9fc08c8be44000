"""Distributions of training times: their two forms, and one that draws independently."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Draw, Time, Times

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


def independent(self: Any, process: Process, draw: Draw) -> Times:
    """Draws one time [b] per example, independently."""
    return wanted(self.quantile(process, random.uniform(random.stream(draw.keys, "time"))))


def wanted(t: Time) -> Times:
    """Returns times that are drawn as they are wanted, so that no loss has a factor."""
    return Times(t, jnp.ones_like(t))


def normal(u: Uniforms) -> Uniforms:
    """Returns the standard normal quantile, finite for all u."""
    # u = 0 has probability 2^-23 in float32; half a unit keeps it finite.
    return ndtri(jnp.maximum(u, jnp.finfo(u.dtype).eps / 2))
