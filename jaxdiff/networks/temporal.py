"""Layers across the frames of a clip, for networks of images that become networks of clips."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from jaxdiff.networks.attention import MultiHead
from jaxdiff.networks.layers import Dense, LayerNorm, zero_init
from jaxdiff.networks.times import SinCos

NAME = "across_frames_"
"""Begins the names of these layers, and of their parameters: an image's network has none."""


class TemporalLayer(nn.Module):
    """A convolution of three frames and attention among all, each added to its input.

    Places do not mix. Both are zero at first, so that a network of images is unchanged in a network
    of clips until it is trained (Blattmann et al., 2023, Singer et al., 2022). One frame is a clip,
    too.

    Attributes:
        frames: of a clip; examples are the frames of clips, one clip after another.
        num_heads: of the attention.
    """

    frames: int
    num_heads: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Returns the frames."""
        height, c = h.shape[1], h.shape[-1]
        x = rearrange(h, "(b f) h w c -> (b h w) f c", f=self.frames)
        near = nn.silu(LayerNorm(dtype=self.dtype, name="norm_conv")(x))
        near = jnp.pad(near, ((0, 0), (1, 1), (0, 0)))
        taps = jnp.concatenate([near[:, i : i + self.frames] for i in range(3)], axis=-1)
        x = x + Dense(c, zero_init, dtype=self.dtype, name="conv")(taps)
        tokens = LayerNorm(dtype=self.dtype, name="norm_attention")(x)
        tokens += SinCos(max_period=100.0)(jnp.arange(self.frames, dtype=jnp.float32), c).astype(
            self.dtype
        )
        x = x + MultiHead(self.num_heads, out_init=zero_init, dtype=self.dtype)(tokens)
        return rearrange(x, "(b h w) f c -> (b f) h w c", h=height, w=h.shape[2])


def by_frame(tree: Any, frames: int) -> Any:
    """Returns arrays [b, ...] with each example once for every frame, [b · frames, ...]."""
    return jax.tree.map(lambda a: jnp.repeat(a, frames, axis=0), tree)
