"""Small image classifiers, whose features measure how far samples are from data."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.networks.blocks import ResidualBlock
from jaxdiff.networks.layers import Conv, GroupNorm
from jaxdiff.networks.resampling import Downsample, level_sizes
from jaxdiff.options import Depth, Filled, FloatType, Width, checked


@checked
class ConvClassifier(nn.Module):
    """Strided convolutions, each halving the resolution, and two dense layers.

    Images are in [-1, 1], 8 to 32 pixels a side; channels are multiples of 8. Features are taken
    before the last non-linearity, where they are closest to Gaussian, and normalised per image
    (Ba et al. 2016), so that distances between them have the same scale for every training run.
    """

    classes: Width
    channels: Annotated[Sequence[Width], Filled()] = (32, 64)
    features: Width = 64

    @nn.compact
    def __call__(
        self, images: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b k"], Float[Array, "b d"]]:
        """Returns the logits of the classes and the features."""
        x = images
        for channels in self.channels:
            x = nn.Conv(channels, (3, 3), strides=2)(x)
            x = nn.relu(nn.GroupNorm(num_groups=None, group_size=8)(x))
        x = nn.Dense(self.features)(x.reshape(len(x), -1))
        features = nn.LayerNorm(use_bias=False, use_scale=False)(x)
        return nn.Dense(self.classes)(nn.relu(features)), features


@checked
class ResidualClassifier(nn.Module):
    """Residual blocks over levels, each half as large, and two dense layers.

    `apply(variables, images, method="maps")` returns the feature map of each level, from fine to
    coarse, such as a perceptual loss compares. Features are as in `ConvClassifier`.

    Attributes:
        channels: the width of each level; `blocks`, the residual blocks of each.
        features: the width of the features; `num_groups`, groups of the norms.
    """

    classes: Width
    channels: Annotated[Sequence[Width], Filled()] = (32, 64, 128, 128)
    blocks: Depth = 1
    features: Width = 256
    num_groups: Width = 8
    dtype: FloatType = jnp.float32

    def setup(self):
        """Makes the layers."""
        norms = {"num_groups": self.num_groups, "dtype": self.dtype}
        self.stem = Conv(self.channels[0], dtype=self.dtype)
        self.levels = [
            [ResidualBlock(width, **norms) for _ in range(self.blocks)] for width in self.channels
        ]
        self.downs = [Downsample(dtype=self.dtype) for _ in self.channels]
        self.norm = GroupNorm(**norms)
        self.hidden = nn.Dense(self.features)
        self.features_norm = nn.LayerNorm(use_bias=False, use_scale=False)
        self.head = nn.Dense(self.classes)

    def maps(self, images: Float[Array, "b h w c"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the feature maps of all levels.

        Raises:
            ValueError: the size cannot be halved often enough.
        """
        level_sizes(images.shape[1:3], len(self.channels) + 1)
        h, maps = self.stem(images), []
        for blocks, down in zip(self.levels, self.downs, strict=True):
            for block in blocks:
                h = block(h)
            maps.append(h)
            h = down(h)
        return (*maps, h)

    def __call__(
        self, images: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b k"], Float[Array, "b d"]]:
        """Returns the logits of the classes and the features."""
        last = nn.silu(self.norm(self.maps(images)[-1]))
        hidden = self.hidden(last.reshape(len(last), -1).astype(jnp.float32))
        features = self.features_norm(hidden)
        return self.head(nn.silu(features)), features
