"""T2I-Adapter: a small network whose features of a map are added within a U-Net's encoder."""

from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Key

from jaxdiff.networks.control import check_map
from jaxdiff.networks.layers import Conv
from jaxdiff.networks.resampling import average_pool
from jaxdiff.networks.residuals import Residuals
from jaxdiff.options import Depth, Filled, FloatType, Width, checked
from jaxdiff.typing import Cond


@checked
class T2IAdapter(nn.Module):
    """Residual blocks on a map, a group for each level of a U-Net (Mou et al., 2023).

    It reads neither the U-Net's input nor the time.

    Attributes:
        channels: of each level's features.
        layers_per_block: residual blocks of a level.
        downscale: side of the squares of the map's pixels that become channels at first.
        large: the variant for SDXL, whose first convolution halves the size once more, and where
            only the third group halves it again.
        map_channels: of the map, whose values are in [0, 1].
    """

    channels: Annotated[Sequence[Width], Filled()] = (320, 640, 1280, 1280)
    layers_per_block: Depth = 2
    downscale: Width = 8
    large: bool = False
    map_channels: Width = 3
    dtype: FloatType = jnp.float32

    @property
    def map_factor(self) -> int:
        """Returns how many times as large as the U-Net's input the map is."""
        return self.downscale // 2 if self.large else self.downscale

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        time: Float[Array, " b"],
        cond: Cond,
        hint: Float[Array, "b h2 w2 m"],
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Residuals:
        """Returns the features of each level; `x` gives the size only.

        Raises:
            ValueError: the map has another size or number of channels.
        """
        check_map(hint, x, self.map_factor, self.map_channels)
        side = self.downscale
        h = rearrange(hint, "b (h p) (w q) c -> b h w (c p q)", p=side, q=side)
        h = Conv(self.channels[0], dtype=self.dtype, name="conv_in")(h)
        levels = []
        for i, width in enumerate(self.channels):
            h = average_pool(h) if (i == 2 if self.large else i > 0) else h
            if h.shape[-1] != width:
                h = Conv(width, 1, dtype=self.dtype, name=f"level_{i}_in")(h)
            for j in range(self.layers_per_block):
                h = AdapterBlock(width, self.dtype, name=f"level_{i}_{j}")(h)
            levels.append(h)
        return Residuals(None, (), tuple(levels))


class AdapterBlock(nn.Module):
    """Two convolutions with a ReLU between them, added to the input."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns features of the same shape."""
        h = nn.relu(Conv(self.features, dtype=self.dtype, name="conv_in")(x))
        return x + Conv(self.features, 1, dtype=self.dtype, name="conv_out")(h)
