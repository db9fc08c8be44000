"""Quantized data: a few levels, evenly spaced from -1 to 1.

256 levels are bytes, with bins 2/255 wide.
"""

import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from jaxdiff.typing import Data


def bin_width(levels: int) -> float:
    """Returns the distance between neighbouring levels on [-1, 1]."""
    return 2 / (levels - 1)


def bins(x: Data, levels: int) -> tuple[Data, Data]:
    """Returns the edges of the bins in which data lie, half a width below and above a level."""
    width = bin_width(levels)
    index = jnp.round((x + 1) / width)
    return -1 + (index - 0.5) * width, -1 + (index + 0.5) * width


def log_interval(low: Data, high: Data) -> Data:
    """Returns log(Φ(high) - Φ(low)) without cancellation in either tail."""
    # Both tails are computed as the lower one, where Φ is small and its logarithm precise.
    upper = low + high > 0
    low, high = jnp.where(upper, -high, low), jnp.where(upper, -low, high)
    return log_ndtr(high) + jnp.log(-jnp.expm1(log_ndtr(low) - log_ndtr(high)))


def log_probability(x: Data, mean: Data, std: Float[Array, "b *_"], levels: int | None) -> Data:
    """Returns the log-probability of each value's bin under a normal distribution.

    The first and the last bin have no end, so that probabilities add up to one. Without levels it
    is the density.
    """
    if levels is None:
        return norm.logpdf(x, mean, std)
    lower, upper = bins(x, levels)
    # Far numbers for infinities, which would have no slope.
    low = jnp.where(lower < -1, -1e4, (lower - mean) / std)
    high = jnp.where(upper > 1, 1e4, (upper - mean) / std)
    return log_interval(low, high)


def check_levels(x: Data, levels: int | None) -> None:
    """Raises ValueError if values are further from every level than a byte's rounding."""
    if levels is None:
        return
    lower, upper = bins(x, levels)
    off = float(jnp.max(jnp.abs(x - (lower + upper) / 2)))
    if off > bin_width(256) / 2 + 1e-5 or float(jnp.max(jnp.abs(x))) > 1 + 1e-5:
        raise ValueError(
            f"levels={levels}: the data have values between these levels, or outside [-1, 1]"
        )
