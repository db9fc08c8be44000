"""Multi-head attention."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdiff.networks.layers import Dense, GroupNorm, zero_init


def attend(
    query: Float[Array, "b q heads d"],
    key: Float[Array, "b k heads d"],
    value: Float[Array, "b k heads d"],
) -> Float[Array, "b q heads d"]:
    """Returns the mean of the values by softmax(query·key/sqrt(d)), per head, in float32."""
    plain = jax.nn.dot_product_attention
    # Few tokens fit the cache anyway, and a batch that is divided over devices would have to be
    # sent around in a loop over it.
    if key.shape[1] < 256 or jax.local_device_count() > 1:
        return plain(query, key, value)
    return lax.platform_dependent(query, key, value, cpu=_attend_by_example, default=plain)


def _attend_by_example(query: Array, key: Array, value: Array) -> Array:
    """Attends in one example after another, so that the weights stay in the processor's cache.

    They are computed again for the gradient instead of being kept.
    """
    attend_one = lambda args: jax.nn.dot_product_attention(*args)
    return lax.map(jax.checkpoint(attend_one, prevent_cse=False), (query, key, value))


class SelfAttention(nn.Module):
    """Attention among all places of an image, with its norm, added to its input.

    Raises:
        ValueError: the heads do not divide the width.
    """

    num_heads: int = 1
    head_channels: int | None = None
    num_groups: int = 32
    eps: float = 1e-5
    skip_scale: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns `(x + attention) · skip_scale`."""
        b, h, w, c = x.shape
        heads = num_heads(c, self.num_heads, self.head_channels)
        norm = GroupNorm(self.num_groups, self.eps, self.dtype, name="norm")(x)
        tokens = norm.reshape(b, h * w, c)

        def project(name: str) -> Array:
            features = Dense(c, dtype=self.dtype, name=name)(tokens)
            return features.reshape(b, h * w, heads, c // heads)

        mixed = attend(project("query"), project("key"), project("value")).reshape(x.shape)
        out = Dense(c, kernel_init=zero_init, dtype=self.dtype, name="out")(mixed)
        return (x + out) * self.skip_scale


def num_heads(channels: int, heads: int, head_channels: int | None) -> int:
    """Returns the number of heads; `head_channels`, the width of one, overrules `heads`.

    Raises:
        ValueError: the heads do not divide the width.
    """
    divisor = heads if head_channels is None else head_channels
    if divisor < 1 or channels % divisor:
        name = "num_heads" if head_channels is None else "head_channels"
        raise ValueError(f"{name}={divisor} does not divide the {channels} channels it is to share")
    return heads if head_channels is None else channels // head_channels
