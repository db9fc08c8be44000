"""Running moments of an autoencoder's latents, measured while it is trained."""

from collections.abc import Mapping

import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

Moments = Mapping[str, Array]
"""Running moments of latents: "mean" and "square" [c], and "count", the batches seen."""

MOMENTS = "latents"
"""Their place in the statistics of the task `Autoencoder`, which checkpoints have."""

FORGETTING = 0.005
"""The least weight of the newest batch in the running moments: about the last 200 batches count."""


def no_moments(channels: int) -> dict[str, Array]:
    """Returns the moments before the first batch."""
    zeros = jnp.zeros(channels)
    return {"mean": zeros, "square": zeros, "count": jnp.zeros(())}


def observed_moments(
    mean: Float[Array, "b *size c"], variance: Float[Array, "..."] | float = 0.0
) -> dict[str, Array]:
    """Returns the moments by channel of a batch of latents, normal of this mean and variance."""
    over_all = lambda a: reduce(a, "... c -> c", "mean")
    return {"mean": over_all(mean), "square": over_all(jnp.square(mean) + variance)}


def absorbed_moments(before: Moments, batch: Moments) -> dict[str, Array]:
    """Returns the running moments with those of one more batch.

    At first this is the plain mean of all batches. Later the oldest are forgotten, since the
    encoder that made them has changed.
    """
    share = jnp.maximum(1 / (before["count"] + 1), FORGETTING)
    mixed = {name: before[name] + share * (batch[name] - before[name]) for name in batch}
    return {**mixed, "count": before["count"] + 1}


def shift_and_scale(moments: Moments) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Returns what latents are shifted by, and then multiplied with, to mean 0 and deviation 1."""
    variance = jnp.maximum(moments["square"] - jnp.square(moments["mean"]), 1e-8)
    return moments["mean"], 1 / jnp.sqrt(variance)
