"""Multi-head attention (Vaswani et al., 2017)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxdiff.networks import algorithms, layout
from jaxdiff.networks.layers import (
    Dense,
    GroupNorm,
    Initializer,
    RMSNorm,
    default_init,
    zero_init,
)
from jaxdiff.networks.ring import attend_in_ring
from jaxdiff.networks.splash import attend_by_splash

EDITS, MAPS = "attention_edits", "attention_maps"
"""Collections of `networks.attention_maps`: edits of attention, and its maps."""


def attend(
    query: Float[Array, "b q heads d"],
    key: Float[Array, "b k heads d"],
    value: Float[Array, "b k heads d"],
    *,
    mask: Bool[Array, "#b #heads #q k"] | None = None,
    bias: Float[Array, "#b #heads #q k"] | None = None,
    scale: float | None = None,
) -> Float[Array, "b q heads d"]:
    """Returns softmax(scale·query·key + bias)·value for each head, in float32.

    Keys where `mask` is False are ignored; the default `scale` is 1/sqrt(d).
    """
    ring = layout.ring_of(query, key) if mask is None and bias is None else None
    if ring is not None:
        return attend_in_ring(ring, query, key, value, scale)
    query, key, value = layout.for_attention(query, key, value)
    return layout.after_attention(_attend(query, key, value, mask, bias, scale))


def _attend(
    query: Array, key: Array, value: Array, mask: Any, bias: Any, scale: float | None
) -> Array:
    kernel = algorithms.kernel()
    named: Any = kernel if kernel in ("xla", "cudnn") else None
    plain = functools.partial(jax.nn.dot_product_attention, scale=scale, implementation=named)
    if mask is not None or bias is not None:
        return plain(query, key, value, bias=bias, mask=mask)
    in_blocks = functools.partial(_attend_in_blocks, scale)
    if kernel == "blocks":
        return in_blocks(query, key, value)
    if kernel == "splash" and key.shape[1] >= BLOCK:
        return attend_by_splash(query, key, value, scale)
    if named or key.shape[1] < BLOCK:  # which fits the cache anyway
        return plain(query, key, value)
    return algorithms.choose(in_blocks, plain, query, key, value)


def maps_of(
    query: Float[Array, "b q heads d"],
    key: Float[Array, "b k heads d"],
    *,
    mask: Bool[Array, "#b #heads #q k"] | None = None,
    bias: Float[Array, "#b #heads #q k"] | None = None,
    scale: float | None = None,
) -> Float[Array, "b heads q k"]:
    """Returns softmax(scale·query·key + bias), which `attend` multiplies with the values."""
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
    logits *= query.shape[-1] ** -0.5 if scale is None else scale
    logits = logits if bias is None else logits + bias
    if mask is not None:
        logits = jnp.where(mask, logits, 0.7 * jnp.finfo(jnp.float32).min)
    return nn.softmax(logits)


def mix(
    maps: Float[Array, "b heads q k"], value: Float[Array, "b k heads d"]
) -> Float[Array, "b q heads d"]:
    """Returns the values, mixed by maps."""
    return jnp.einsum("bhqk,bkhd->bqhd", maps.astype(value.dtype), value)


BLOCK = 256
"""Queries of a block: their attention weights fit into a processor's cache."""


def _attend_in_blocks(scale: float | None, query: Array, key: Array, value: Array) -> Array:
    """Attends in a loop over examples, heads and blocks of queries.

    The gradient computes the weights again instead of keeping them. Keys and values are stored
    channels first, so that their gradients are matrix products without a transpose: XLA on CPU
    takes five times as long with one.
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

    query = rearrange(query, "b n h d -> (b h) n d")
    key, value = (rearrange(x, "b m h d -> (b h) d m") for x in (key, value))
    mixed = lax.map(attend_one, (query, key, value))
    return rearrange(mixed, "(b h) n d -> b n h d", b=b)


@dataclass(frozen=True)
class MultiHead:
    """The options of multi-head attention, applied inside of a module's compact method.

    Its layers "query", "key", "value" and "out" belong to that module. Norm and residual are left
    to it.

    Attributes:
        num_heads: number of heads.
        head_channels: width of a head; None for the width of the tokens divided by `num_heads`.
        use_bias: whether queries, keys and values have biases; `out_bias`, whether "out" has one.
        qk_norm: "head" normalizes queries and keys to a root mean square of 1 in each head (Henry
            et al., 2020; Esser et al., 2024), "all" over all heads together, None not at all.
        scale: factor of query·key; None for 1/sqrt(head_channels).
        out_init: initializer of the kernel of "out".

    """

    num_heads: int = 1
    head_channels: int | None = None
    use_bias: bool = True
    out_bias: bool = True
    qk_norm: Literal["head", "all"] | None = None
    scale: float | None = None
    out_init: Initializer = default_init
    dtype: Any = jnp.float32

    def __call__(
        self,
        x: Float[Array, "b n c"],
        context: Float[Array, "b m d"] | None = None,
        *,
        mask: Bool[Array, "#b #heads #n m"] | None = None,
        bias: Float[Array, "#b #heads #n m"] | None = None,
        rotation: Float[Array, "#b n pairs"] | None = None,
        image: Float[Array, "b k d2"] | None = None,
        attention: Callable[..., Array] = attend,
    ) -> Float[Array, "b n c"]:
        """Returns attention of the tokens to the context, by default to themselves.

        Context tokens where `mask` is False are ignored. `rotation` holds an angle for each pair of
        channels of a query and of a key; the context must then be the tokens. Attention to the
        tokens of an `image`, by keys and values of its own, is added before the last map (Ye et
        al., 2023). `attention` is what mixes the values, with the arguments of `attend`.
        """
        context = x if context is None else context
        width = x.shape[-1]
        query = self.project("query", x, width, rotation)
        key = self.project("key", context, width, rotation)
        value = self.project("value", context, width)
        mixed = attention(query, key, value, mask=mask, bias=bias, scale=self.scale)
        if image is not None:
            key, value = (self.project(f"image_{n}", image, width) for n in ("key", "value"))
            mixed += attend(query, key, value, scale=self.scale)
        return self.merge("out", mixed, width)

    def project(
        self,
        name: str,
        tokens: Float[Array, "b n d"],
        width: int,
        rotation: Float[Array, "#b n pairs"] | None = None,
    ) -> Float[Array, "b n heads d2"]:
        """Returns queries, keys or values; those whose layer is named "...value" have no norm."""
        channels = self.head_channels or width // self.num_heads
        features = self.num_heads * channels
        x = Dense(features, use_bias=self.use_bias, dtype=self.dtype, name=name)(tokens)
        norm = None if "value" in name else self.qk_norm
        if norm == "all":
            x = RMSNorm(dtype=self.dtype, name=f"{name}_norm")(x)
        x = rearrange(x, "b n (heads d) -> b n heads d", d=channels)
        if norm == "head":
            x = RMSNorm(dtype=self.dtype, name=f"{name}_norm")(x)
        return x if rotation is None else rotate(x, rotation)

    def merge(
        self, name: str, mixed: Float[Array, "b n heads d"], width: int
    ) -> Float[Array, "b n width"]:
        """Returns the affine map of all heads together."""
        out = Dense(width, self.out_init, use_bias=self.out_bias, dtype=self.dtype, name=name)
        return out(rearrange(mixed, "b n heads d -> b n (heads d)"))


class Attention(nn.Module):
    """`MultiHead` as a module: its layers have a scope of their own, and its maps can be edited.

    See `networks.attention_maps`.
    """

    heads: MultiHead

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n c"],
        context: Float[Array, "b m d"] | None = None,
        **options: Any,
    ) -> Float[Array, "b n c"]:
        """Returns attention of the tokens to the context; `options` are those of `MultiHead`."""
        edited = self.has_variable(EDITS, "edit")
        attention = self.get_variable(EDITS, "edit") if edited else attend
        of_text = context is not None and not self.is_initializing()
        if of_text and self.is_mutable_collection(MAPS):
            attention = functools.partial(self._recorded, attention)
        return self.heads(x, context, attention=attention, **options)

    def _recorded(self, attention: Any, query: Array, key: Array, value: Array, **options: Any):
        maps = getattr(attention, "maps", maps_of)(query, key, **options)
        self.sow(MAPS, "maps", maps)
        return mix(maps, value)


class SelfAttention(nn.Module):
    """GroupNorm and attention among all places of an image, added to the image.

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
        heads = num_heads(x.shape[-1], self.num_heads, self.head_channels)
        h = GroupNorm(self.num_groups, self.eps, self.dtype, name="norm")(x)
        h = rearrange(h, "b h w c -> b (h w) c")
        h = MultiHead(heads, out_init=zero_init, dtype=self.dtype)(h)
        return (x + h.reshape(x.shape)) * self.skip_scale


def rotate(
    x: Float[Array, "b n heads d"], angles: Float[Array, "#b n pairs"]
) -> Float[Array, "b n heads d"]:
    """Turns each pair of neighbouring channels by its angle (Su et al., 2021, equation 34)."""
    pairs = rearrange(x.astype(jnp.float32), "b n heads (pairs two) -> b n heads pairs two", two=2)
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
        raise ValueError(f"{name}={divisor} does not divide the {channels} channels")
    return heads if head_channels is None else channels // head_channels
