"""Images as CLIP's image encoder takes them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.networks.text.clip import CLIPVision
from jaxdiff.networks.text.transformer import States
from jaxdiff.typing import Params

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
"""Of the channels, in [0, 1], in CLIP's training data (Radford et al., 2021)."""


def clip_pixels(
    images: Float[Array | np.ndarray, "b h w 3"], size: int
) -> Float[Array, "b size size 3"]:
    """Returns images in [-1, 1] resized so that the shorter side is `size`, cut to the middle
    square, and normalized for CLIP."""
    images = jnp.asarray(images)
    b, h, w, _ = images.shape
    height, width = (size * side // min(h, w) for side in (h, w))
    images = jax.image.resize(images, (b, height, width, 3), "cubic", antialias=True)
    images = jnp.clip(images, -1, 1)
    top, left = (height - size) // 2, (width - size) // 2
    middle = images[:, top : top + size, left : left + size]
    return ((middle + 1) / 2 - MEAN) / DEVIATION


def encode_images(
    network: CLIPVision, params: Params, images: Float[Array | np.ndarray, "b h w 3"]
) -> States:
    """Returns the states and the vector of images in [-1, 1] of any size."""
    return network.apply({"params": params}, clip_pixels(images, network.settings.size))
