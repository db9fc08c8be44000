"""Multi-head attention."""

import functools
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxdiff.networks.layers import (
    Dense,
    GroupNorm,
    Initializer,
    RMSNorm,
    default_init,
    zero_init,
)


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
    if key.shape[1] < BLOCK or jax.local_device_count() > 1:
        return plain(query, key, value)
    in_blocks = functools.partial(_attend_in_blocks, scale)
    return lax.platform_dependent(query, key, value, cpu=in_blocks, default=plain)


BLOCK = 256
"""So many queries at a time have weights that fit into a processor's cache."""


def _attend_in_blocks(scale: float | None, query: Array, key: Array, value: Array) -> Array:
    """Attends for one example, head and block of queries after another.

    Weights are computed again for the gradient instead of being kept. Keys and values lie with
    their channels first, so that their gradients are products of matrices as they lie, too: XLA on
    CPU takes five times as long for the others.
    """
    b, n, _, d = query.shape
    scale = d**-0.5 if scale is None else scale
    size = max(k for k in range(1, min(n, BLOCK) + 1) if n % k == 0)
    size = n if size < BLOCK // 4 else size

    def attend_one(args):
        query, key, value = args

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def attend_block(query):
            logits = jnp.einsum("qd,dk->qk", query, key, preferred_element_type=jnp.float32)
            weights = nn.softmax(scale * logits).astype(value.dtype)
            return jnp.einsum("qk,dk->qd", weights, value)

        return lax.map(attend_block, query.reshape(-1, size, d)).reshape(n, d)

    query = einops.rearrange(query, "b n h d -> (b h) n d")
    key, value = (einops.rearrange(x, "b m h d -> (b h) d m") for x in (key, value))
    mixed = lax.map(attend_one, (query, key, value))
    return einops.rearrange(mixed, "(b h) n d -> b n h d", b=b)


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

    Attributes:
        num_heads: how many; `head_channels`, the width of one, overrules it.
        use_bias: whether queries, keys and values have biases; the map out has one.
        qk_norm: "head" for queries and keys whose root mean square is 1 in each head (Henry et al.,
            2020; Esser et al., 2024), "all" over all heads, None for as they are.

    Raises:
        ValueError: the heads do not divide the width, or `qk_norm` is unknown.
    """

    num_heads: int = 8
    head_channels: int | None = None
    use_bias: bool = False
    qk_norm: str | None = None
    out_init: Initializer = default_init
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n c"],
        context: Float[Array, "b m d"],
        mask: Bool[Array, "#b #n m"] | None = None,
        rotation: Float[Array, "#b n pairs"] | None = None,
    ) -> Float[Array, "b n c"]:
        """Returns what the tokens gather, of the context where `mask` is True.

        `rotation` holds angles by which each token's query and key are turned; the context must
        then be the tokens.
        """
        c = x.shape[-1]
        heads = num_heads(c, self.num_heads, self.head_channels)
        options = c, heads, self.use_bias, self.qk_norm, self.dtype
        mixed = attend(
            project("query", x, *options, rotation),
            project("key", context, *options, rotation),
            project("value", context, *options),
            mask=None if mask is None else mask[:, None],
        )
        out = Dense(c, kernel_init=self.out_init, dtype=self.dtype, name="out")
        return out(mixed.reshape(x.shape))


def project(
    name: str,
    tokens: Float[Array, "b n d"],
    features: int,
    heads: int,
    use_bias: bool,
    qk_norm: str | None,
    dtype: Any,
    rotation: Float[Array, "#b n pairs"] | None = None,
) -> Float[Array, "b n heads d2"]:
    """Returns the queries, keys or values of tokens, for use inside of a compact method.

    Values are neither normalized nor turned.

    Raises:
        ValueError: `qk_norm` is unknown.
    """
    if qk_norm not in (None, "head", "all"):
        raise ValueError(f"qk_norm={qk_norm!r} must be 'head', 'all' or None")
    x = Dense(features, use_bias=use_bias, dtype=dtype, name=name)(tokens)
    is_value = "value" in name
    if qk_norm == "all" and not is_value:
        x = RMSNorm(dtype=dtype, name=f"{name}_norm")(x)
    x = x.reshape(*tokens.shape[:2], heads, features // heads)
    if qk_norm == "head" and not is_value:
        x = RMSNorm(dtype=dtype, name=f"{name}_norm")(x)
    return x if rotation is None else rotate(x, rotation)


def rotate(
    x: Float[Array, "b n heads d"], angles: Float[Array, "#b n pairs"]
) -> Float[Array, "b n heads d"]:
    """Turns each pair of neighbouring channels by its angle (Su et al., 2021, equation 34)."""
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
    first, second = pairs[..., 0], pairs[..., 1]
    turned = first * cos - second * sin, first * sin + second * cos
    return jnp.stack(turned, axis=-1).reshape(x.shape).astype(x.dtype)


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
