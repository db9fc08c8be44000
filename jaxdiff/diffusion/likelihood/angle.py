"""The noise angle φ = arctan(sigma/alpha): 0 at the data, π/2 where nothing is left of them.

With z = x/√(alpha² + sigma²) = cos(φ)·x0 + sin(φ)·noise, every Gaussian process is the same
circle (Salimans & Ho 2022, appendix D), finite and smooth at alpha = 0 and at sigma = 0.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion.process import Process

Angle = Float[Array, ""]


def time_of(process: Process, angle: Float[Array, "*t"]) -> Float[Array, "*t"]:
    """Returns the time at which arctan(sigma/alpha) is `angle`."""
    # The float next to π/2 may lie above it, where the cosine is negative.
    cosine = jnp.maximum(jnp.cos(angle), 0)
    return process.time(2 * (jnp.log(cosine) - jnp.log(jnp.sin(angle))))


def span(process: Process, noise_level: float) -> tuple[Angle, Angle]:
    """Returns the angles between which a likelihood is computed.

    The first is arctan(`noise_level`), or the process's least; the last is that of t = 1.
    """
    ends = jnp.array([0.0, 1.0])
    least, last = jnp.arctan2(process.schedule.sigma(ends), process.schedule.alpha(ends))
    return jnp.maximum(least, jnp.arctan(noise_level)), last


def nodes(start: Angle, end: Angle, steps: int) -> Float[Array, " nodes"]:
    """Returns steps + 1 angles evenly spaced in log(φ): near the data, evenly in log-SNR."""
    return jnp.geomspace(start, end, steps + 1)
