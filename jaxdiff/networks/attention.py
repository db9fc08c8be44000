"""Multi-head attention."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxdiff.networks.layers import Dense, GroupNorm, zero_init


def attend(
    query: Float[Array, "b q heads d"],
    key: Float[Array, "b k heads d"],
    value: Float[Array, "b k heads d"],
    *,
    mask: Bool[Array, "#b #heads #q k"] | None = None,
    bias: Float[Array, "#b #heads #q k"] | None = None,
    scale: float | None = None,
) -> Float[Array, "b q heads d"]:
    """Returns the mean of the values by softmax(scale·query·key + bias), per head, in float32.

    Keys where `mask` is False have no part in it; `scale` is 1/sqrt(d) unless it is given.
    """
    plain = functools.partial(jax.nn.dot_product_attention, scale=scale)
    if mask is not None or bias is not None:
        return plain(query, key, value, bias=bias, mask=mask)
    # Few tokens fit the cache anyway, and a batch that is divided over devices would have to be
    # sent around in a loop over it.
    if key.shape[1] < 256 or jax.local_device_count() > 1:
        return plain(query, key, value)
    by_example = functools.partial(_attend_by_example, plain)
    return lax.platform_dependent(query, key, value, cpu=by_example, default=plain)


def _attend_by_example(plain: Callable, query: Array, key: Array, value: Array) -> Array:
    """Attends in one example after another, so that the weights stay in the processor's cache.

    They are computed again for the gradient instead of being kept.
    """
    attend_one = lambda args: plain(*args)
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


class Attention(nn.Module):
    """Attention of tokens to a context: themselves, or others (Vaswani et al., 2017).

    Queries, keys and values are linear maps without biases; the map out has one.

    Raises:
        ValueError: the heads do not divide the width.
    """

    num_heads: int = 8
    head_channels: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n c"],
        context: Float[Array, "b m d"],
        mask: Bool[Array, "b m"] | None = None,
    ) -> Float[Array, "b n c"]:
        """Returns what the tokens gather, of the context where `mask` is True."""
        c = x.shape[-1]
        heads = num_heads(c, self.num_heads, self.head_channels)

        def project(tokens: Array, name: str) -> Array:
            features = Dense(c, use_bias=False, dtype=self.dtype, name=name)(tokens)
            return features.reshape(*tokens.shape[:2], heads, c // heads)

        mixed = attend(
            project(x, "query"),
            project(context, "key"),
            project(context, "value"),
            mask=None if mask is None else mask[:, None, None, :],
        )
        return Dense(c, dtype=self.dtype, name="out")(mixed.reshape(x.shape))


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
