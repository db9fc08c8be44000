"""Critics: networks that give high scores to data."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float

from jaxdiff.networks.layers import Conv, Dense, GroupNorm
from jaxdiff.options import Count, Depth, Filled, FloatType, Width, checked


@checked
class PatchDiscriminator(nn.Module):
    """Strided convolutions whose every output sees a patch, and scores it.

    Attributes:
        channels: of the convolutions, each of which halves the resolution.
        num_groups: of the group norms behind all convolutions but the first; 0 for no norms.
        frames: of a clip, the number of frames, up to the one that is scored, that a patch has.
    """

    channels: Annotated[Sequence[Width], Filled()] = (32, 64)
    num_groups: Count = 0
    frames: Depth = 1
    dtype: FloatType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *size c"]) -> Float[Array, "b patches"]:
        """Returns the scores of the patches of each image or clip: high for data."""
        batch = len(x)
        if x.ndim == 5:
            before = [(self.frames - 1, 0) if axis == 1 else (0, 0) for axis in range(5)]
            padded, count = jnp.pad(x, before, mode="edge"), x.shape[1]
            stack = [padded[:, i : i + count] for i in range(self.frames)]
            x = rearrange(jnp.concatenate(stack, axis=-1), "b f h w c -> (b f) h w c")
        for level, features in enumerate(self.channels):
            x = nn.Conv(features, (4, 4), strides=2, dtype=self.dtype)(x)
            if level and self.num_groups:
                x = GroupNorm(self.num_groups, dtype=self.dtype)(x)
            x = nn.leaky_relu(x, 0.2)
        scores = nn.Conv(1, (3, 3), dtype=self.dtype)(x).astype(jnp.float32)
        return scores.reshape(batch, -1)


@checked
class FeatureDiscriminator(nn.Module):
    """Small heads on the features of another network, one for each of its layers.

    A head scores every place of a layer's features by affine maps with norms between them, and
    convolutions of 4×4 where a stride is above 1 (Sauer et al. 2024; Yin et al. 2024, DMD2).

    Attributes:
        layers: names of the other network's layers, as in `networks.features`; () for those that it
            offers itself.
        channels: widths of a head's layers.
        strides: of the layers of heads on images, one for each of `channels`; () for 1.
        num_groups: of the norms; vectors are normed as a whole.
    """

    layers: Sequence[str] = ()
    channels: Annotated[Sequence[Width], Filled()] = (64,)
    strides: Sequence[Depth] = ()
    num_groups: Width = 32
    dtype: FloatType = jnp.float32

    @nn.compact
    def __call__(
        self, features: Mapping[str, Float[Array, "b *places c"]]
    ) -> Float[Array, "b scores"]:
        """Returns the scores of all heads at all places.

        Raises:
            ValueError: there is not one stride for each width, or features to be strided over are
                no images, or too small.
        """
        if self.strides and len(self.strides) != len(self.channels):
            raise ValueError(
                f"FeatureDiscriminator: strides={tuple(self.strides)} must have one value for each"
                f" of channels={tuple(self.channels)}"
            )
        scores = [self._head(h, layer.replace("/", "_")) for layer, h in features.items()]
        return jnp.concatenate(scores, axis=1).astype(jnp.float32)

    def _head(self, h: Array, name: str) -> Float[Array, "b places"]:
        for i, width in enumerate(self.channels):
            stride = self.strides[i] if self.strides else 1
            h = self._map(h, width, stride, f"{name}_{i}")
            groups = self.num_groups if h.ndim > 2 else 1  # a few numbers would lose their size
            h = nn.silu(GroupNorm(groups, dtype=self.dtype, name=f"{name}_{i}_norm")(h))
        score = Dense(1, dtype=self.dtype, name=f"{name}_out")(h)
        return rearrange(score, "b ... 1 -> b (...)")

    def _map(self, h: Array, width: int, stride: int, name: str) -> Array:
        if stride == 1:
            return Dense(width, dtype=self.dtype, name=name)(h)
        side = max(4 - stride, 0) // 2
        if h.ndim != 4 or min(h.shape[1:3]) + 2 * side < 4:
            raise ValueError(
                f"FeatureDiscriminator: strides={tuple(self.strides)} need images of at least"
                f" {4 - 2 * side} pixels, not features {h.shape[1:]}"
            )
        return Conv(width, 4, stride, (side, side), dtype=self.dtype, name=name)(h)
