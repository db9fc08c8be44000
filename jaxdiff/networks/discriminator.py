"""A discriminator of patches (Isola et al. 2017), for adversarial losses of images."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

from jaxdiff.options import Filled, FloatType, Width, checked


@checked
class PatchDiscriminator(nn.Module):
    """Strided convolutions whose every output sees a patch; the mean over patches is the score."""

    channels: Annotated[Sequence[Width], Filled()] = (32, 64)
    dtype: FloatType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, " b"]:
        """Returns a score for each image: high for data."""
        for features in self.channels:
            x = nn.leaky_relu(nn.Conv(features, (4, 4), strides=2, dtype=self.dtype)(x), 0.2)
        patches = nn.Conv(1, (3, 3), dtype=self.dtype)(x)
        return reduce(patches, "b h w 1 -> b", "mean")
