"""A small image classifier, whose features measure how far samples are from data."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
from jaxtyping import Array, Float

from jaxdiff.options import Filled, Width, checked


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
