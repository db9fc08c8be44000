"""The noise angles between which a likelihood is computed, and the steps between them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion.process import Process

Angle = Float[Array, ""]


def span(process: Process, noise_level: float) -> tuple[Angle, Angle]:
    """Returns the angles between which a likelihood is computed.

    The first is arctan(`noise_level`), or the process's least; the last is that of t = 1.
    """
    least, last = process.angle(jnp.array([0.0, 1.0]))
    return jnp.maximum(least, jnp.arctan(noise_level)), last


def nodes(start: Angle, end: Angle, steps: int) -> Float[Array, " nodes"]:
    """Returns steps + 1 angles evenly spaced in log(φ): near the data, evenly in log-SNR."""
    return jnp.geomspace(start, end, steps + 1)
