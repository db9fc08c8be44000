"""Linear operators of batches [b, h, w, c], for inverse problems; autodiff transposes them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Operator = Callable[[Array], Array]


def inpainting(mask: ArrayLike) -> Operator:
    """Keeps what the mask keeps, and zeros the rest."""
    return lambda x: x * jnp.asarray(mask).astype(x.dtype)


def average_pooling(factor: int) -> Operator:
    """Means of `factor`×`factor` pixels, whose inversion is super-resolution.

    Raises:
        ValueError: when it is called, if the image does not divide into such squares.
    """

    def pool(x):
        b, h, w, c = x.shape
        if factor < 1 or h % factor or w % factor:
            raise ValueError(f"average_pooling: factor={factor} does not divide {h}x{w} pixels")
        return x.reshape(b, h // factor, factor, w // factor, factor, c).mean(axis=(2, 4))

    return pool


def blur(kernel: Float[Array, "kh kw"]) -> Operator:
    """Correlates every channel with the kernel, with zeros beyond the edges."""

    def correlate(x):
        channels = x.shape[-1]
        weights = jnp.broadcast_to(kernel[..., None, None], (*kernel.shape, 1, channels))
        return jax.lax.conv_general_dilated(
            x,
            weights.astype(x.dtype),
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=channels,
        )

    return correlate
