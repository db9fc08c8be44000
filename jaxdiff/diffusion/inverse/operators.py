"""Linear operators of batches of images, for inverse problems; autodiff transposes them."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

from jaxdiff.options import Numbers, Size
from jaxdiff.trees import pytree

Operator = Callable[[Array], Array]

KIND = Operator
"""The kind of objects that the names of this module build."""


@pytree(data=("mask",))
@dataclass(frozen=True)
class Inpainting:
    """Keeps the pixels where `mask` is True, and zeros the others; the mask broadcasts to x."""

    mask: Numbers

    def __call__(self, x: Float[Array, "b *shape"]) -> Float[Array, "b *shape"]:
        """Returns the known pixels."""
        return x * jnp.asarray(self.mask).astype(x.dtype)


@pytree()
@dataclass(frozen=True)
class AveragePooling:
    """Means of `factor`×`factor` pixels; to invert them is super-resolution."""

    factor: Size

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Returns the small image.

        Raises:
            ValueError: the image does not divide into such squares.
        """
        _, h, w, _ = x.shape
        f = self.factor
        if f < 1 or h % f or w % f:
            raise ValueError(f"AveragePooling: factor={f} does not divide {h}x{w} pixels")
        return reduce(x, "b (h i) (w j) c -> b h w c", "mean", i=f, j=f)


@pytree(data=("kernel",))
@dataclass(frozen=True)
class Blur:
    """Correlates every channel with a kernel [kh, kw], with zeros beyond the edges."""

    kernel: Numbers

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the blurred image."""
        channels, kernel = x.shape[-1], jnp.asarray(self.kernel)
        weights = jnp.broadcast_to(kernel[..., None, None], (*kernel.shape, 1, channels))
        return jax.lax.conv_general_dilated(
            x,
            weights.astype(x.dtype),
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=channels,
        )


@pytree()
@dataclass(frozen=True)
class Decoded:
    """An operator on latents: `decode` to pixels, then an operator on pixels."""

    operator: Operator
    decode: Callable[[Array], Array]

    def __call__(self, z: Float[Array, "b *shape"]) -> Array:
        """Returns the measurement of decoded latents."""
        return self.operator(self.decode(z))
