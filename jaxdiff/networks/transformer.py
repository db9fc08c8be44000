"""The transformer among the places of an image, which also attends to text."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdiff.networks.attention import Attention
from jaxdiff.networks.layers import Dense, GroupNorm, LayerNorm, zero_init


class SpatialTransformer(nn.Module):
    """Transformer blocks on the places of an image, added to it (Rombach et al., 2022).

    The maps into and out of the blocks are linear; checkpoints that have convolutions of size 1
    there mean the same.

    Attributes:
        depth: how many blocks.
        num_heads: heads of each attention; `head_channels`, the width of one, overrules it.
        num_groups: groups of the norm at the entrance.
        dtype: of the compute and of the output.

    Raises:
        ValueError: the heads do not divide the width.
    """

    depth: int = 1
    num_heads: int = 8
    head_channels: int | None = None
    num_groups: int = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        text: Float[Array, "b n d"] | None = None,
        text_mask: Bool[Array, "b n"] | None = None,
    ) -> Float[Array, "b h w c"]:
        """Returns the image; without text the blocks attend to the image alone."""
        b, h, w, c = x.shape
        # Whatever the norms elsewhere have, the released weights expect this one.
        norm = GroupNorm(self.num_groups, 1e-6, self.dtype, name="norm")
        tokens = Dense(c, dtype=self.dtype, name="in")(norm(x).reshape(b, h * w, c))
        for i in range(self.depth):
            block = TransformerBlock(
                self.num_heads, self.head_channels, self.dtype, name=f"block_{i}"
            )
            tokens = block(tokens, text, text_mask)
        out = Dense(c, kernel_init=zero_init, dtype=self.dtype, name="out")(tokens)
        return x + out.reshape(x.shape)


class TransformerBlock(nn.Module):
    """Attention among tokens, attention to text, a perceptron; each after a norm, and added."""

    num_heads: int = 8
    head_channels: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n c"],
        text: Float[Array, "b m d"] | None = None,
        text_mask: Bool[Array, "b m"] | None = None,
    ) -> Float[Array, "b n c"]:
        """Returns tokens of the same width; without text there is no attention to it."""
        norm = lambda name: LayerNorm(dtype=self.dtype, name=name)
        attention = lambda name: Attention(
            self.num_heads, self.head_channels, dtype=self.dtype, name=name
        )
        mask = None if text_mask is None else text_mask[:, None]
        h = norm("norm_self")(x)
        x += attention("self")(h, h)
        if text is not None:
            x += attention("text")(norm("norm_text")(x), text, mask)
        return x + GEGLU(dtype=self.dtype, name="mlp")(norm("norm_mlp")(x))


class GEGLU(nn.Module):
    """A perceptron whose hidden layer is gated by GELU (Shazeer, 2020)."""

    factor: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        """Returns `(value · gelu(gate)) @ out`; the hidden layer is `factor` times as wide as x."""
        c = x.shape[-1]
        hidden = Dense(2 * self.factor * c, dtype=self.dtype, name="in")(x)
        value, gate = jnp.split(hidden, 2, axis=-1)
        return Dense(c, dtype=self.dtype, name="out")(value * nn.gelu(gate, approximate=False))
