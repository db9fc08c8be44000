"""The transformer over the places of an image, with cross-attention to text."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from jaxdiff.networks.attention import Attention, MultiHead, num_heads
from jaxdiff.networks.dit.stack import in_turn
from jaxdiff.networks.layers import Dense, GroupNorm, LayerNorm, zero_init


class SpatialTransformer(nn.Module):
    """Transformer blocks over the places of an image, added to it (Rombach et al., 2022).

    The maps into and out of the blocks are linear: equivalent to the 1×1 convolutions in
    checkpoints of Stable Diffusion 1.

    Attributes:
        depth: number of blocks.
        num_heads: heads of each attention; `head_channels`, the width of a head, overrules it.
        num_groups: groups of the norm before the blocks.
        unroll: number of blocks that are compiled at a time, as in `in_turn`; None for all.
        dtype: of the computation and of the output.

    Raises:
        ValueError: the heads do not divide the width.
    """

    depth: int = 1
    num_heads: int = 8
    head_channels: int | None = None
    num_groups: int = 32
    unroll: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        text: Float[Array, "b n d"] | None = None,
        text_mask: Bool[Array, "b n"] | None = None,
        image: Float[Array, "b k d2"] | None = None,
    ) -> Float[Array, "b h w c"]:
        """Returns the image; without text the blocks attend to the image alone."""
        c = x.shape[-1]
        heads = num_heads(c, self.num_heads, self.head_channels)
        # The released weights have this epsilon here, whatever that of the other norms is.
        h = GroupNorm(self.num_groups, 1e-6, self.dtype, name="norm")(x)
        tokens = rearrange(h, "b h w c -> b (h w) c")
        tokens = Dense(c, dtype=self.dtype, name="in")(tokens)
        make = functools.partial(TransformerBlock, heads, self.dtype)
        block = lambda tokens, name: make(name=name)(tokens, text, text_mask, image)
        names = [f"block_{i}" for i in range(self.depth)]
        tokens = in_turn(self, names, block, tokens, self.unroll)
        out = Dense(c, kernel_init=zero_init, dtype=self.dtype, name="out")(tokens)
        return x + out.reshape(x.shape)


class TransformerBlock(nn.Module):
    """A pre-norm block: self-attention, attention to text, and a GEGLU, each added to its input."""

    num_heads: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n c"],
        text: Float[Array, "b m d"] | None = None,
        text_mask: Bool[Array, "b m"] | None = None,
        image: Float[Array, "b k d2"] | None = None,
    ) -> Float[Array, "b n c"]:
        """Returns tokens of the same width; without text, attention to text is left out.

        With the tokens of an `image`, attention to the image is added to attention to the text.
        """
        norm = lambda name: LayerNorm(dtype=self.dtype, name=name)
        heads = MultiHead(self.num_heads, use_bias=False, dtype=self.dtype)
        mask = None if text_mask is None else text_mask[:, None, None]
        x += Attention(heads, name="self")(norm("norm_self")(x))
        if text is not None:
            x += Attention(heads, name="text")(norm("norm_text")(x), text, mask=mask, image=image)
        return x + GEGLU(dtype=self.dtype, name="mlp")(norm("norm_mlp")(x))


class GEGLU(nn.Module):
    """A feed-forward part whose hidden layer is gated by GELU (Shazeer, 2020)."""

    factor: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        """Returns `(value · gelu(gate)) @ out`; the hidden layer is `factor` times as wide as x."""
        c = x.shape[-1]
        hidden = Dense(2 * self.factor * c, dtype=self.dtype, name="in")(x)
        value, gate = jnp.split(hidden, 2, axis=-1)
        return Dense(c, dtype=self.dtype, name="out")(value * nn.gelu(gate, approximate=False))
