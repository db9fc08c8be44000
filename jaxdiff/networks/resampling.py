"""Layers that halve or double the height and width of images."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import reduce, repeat
from jaxtyping import Array, Float

from jaxdiff.networks.layers import Conv


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Halves height and width by the mean of 2×2 places."""
    return reduce(x, "b (h 2) (w 2) c -> b h w c", "mean")


def nearest(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Doubles height and width by repeating each place 2×2 times."""
    return repeat(x, "b h w c -> b (h 2) (w 2) c")


class Downsample(nn.Module):
    """Halves height and width by a convolution of stride 2.

    `padding` is (before, after): (1, 1), or (0, 1) as in the released weights of Ho et al. (2020).
    """

    padding: Sequence[int] = (1, 1)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Returns the smaller image."""
        conv = Conv(
            x.shape[-1], stride=2, padding=tuple(self.padding), dtype=self.dtype, name="conv"
        )
        return conv(x)


class Upsample(nn.Module):
    """Doubles height and width by repetition and a convolution."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Returns the larger image."""
        return Conv(x.shape[-1], dtype=self.dtype, name="conv")(nearest(x))


def level_sizes(size: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """Returns the (height, width) of each level.

    Raises:
        ValueError: the size cannot be halved often enough; names the nearest that can.
    """
    factor = 2 ** (levels - 1)
    if any(n < 1 or n % factor for n in size):
        below = [max(n // factor, 1) * factor for n in size]
        above = [-(-n // factor) * factor for n in size]
        raise ValueError(
            f"image size {size[0]}x{size[1]}: {levels} levels need a multiple of {factor};"
            f" the nearest are {below[0]}x{below[1]} and {above[0]}x{above[1]}"
        )
    return [(size[0] >> level, size[1] >> level) for level in range(levels)]
