"""Soft edges of pictures by HED, holistically-nested edge detection (Xie & Tu, 2015)."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Params = Mapping[str, Array]
"""Arrays by name: "block1.0.kernel" [h, w, i, o], "block1.0.bias", "side1.kernel", "fuse.bias"."""

WIDTHS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Features and convolutions of VGG16's blocks."""

MEAN = (122.67892, 116.66877, 104.00699)
"""Of red, green and blue, in [0, 255]."""


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays by name."""
    found, before = {}, 3
    for block, (width, count) in enumerate(WIDTHS, 1):
        for i in range(count):
            found[f"block{block}.{i}.kernel"] = 3, 3, before, width
            found[f"block{block}.{i}.bias"] = (width,)
            before = width
        found |= {f"side{block}.kernel": (1, 1, width, 1), f"side{block}.bias": (1,)}
    return {**found, "fuse.kernel": (1, 1, len(WIDTHS), 1), "fuse.bias": (1,)}


def soft_edges(params: Params, x: Float[Array, "b h w 3"]) -> Float[Array, "b h w 1"]:
    """Returns how likely each pixel of pictures in [0, 1] is on an edge.

    Each block of VGG16, which halves the size, has a map of its own; they are enlarged and fused.
    """
    # The network was trained on Caffe's order of colours: blue, green, red.
    h, sides = (255 * x - jnp.array(MEAN))[..., ::-1], []
    for block, (_, count) in enumerate(WIDTHS, 1):
        h = nn.max_pool(h, (2, 2), (2, 2), "SAME") if block > 1 else h
        for i in range(count):
            h = nn.relu(_conv(params, f"block{block}.{i}", h))
        side = _conv(params, f"side{block}", h)
        shape = (*x.shape[:3], 1)
        sides.append(jax.image.resize(side, shape, "linear", antialias=False))
    return nn.sigmoid(_conv(params, "fuse", jnp.concatenate(sides, axis=-1)))


def _conv(params: Params, name: str, x: Array) -> Array:
    kernel = params[f"{name}.kernel"]
    found = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return found + params[f"{name}.bias"]
