"""Two-dimensional convolution whose gradients are fast on CPU as well as on GPU and TPU."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdiff.networks import algorithms

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Zeros put (above, below) and (left, right)."""


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "i j c o"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 o"]:
    """Returns the cross-correlation of `x` with `kernel`, as convolution layers define it."""
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@convolve.defjvp
def _tangent(stride: int, padding: Padding, primals: tuple, tangents: tuple) -> tuple:
    """Both products are plain JAX, so every mode and order of differentiation follows."""
    (x, kernel), (dx, dkernel) = primals, tangents
    plain = partial(convolve, stride=stride, padding=padding)
    if x.shape[1] * x.shape[2] >= 16 * 16:  # smaller images gain nothing
        by_example = partial(_by_example, stride=stride, padding=padding)
        in_kernel = algorithms.choose(by_example, plain, x, dkernel)
    else:
        in_kernel = plain(x, dkernel)
    return plain(x, kernel), plain(dx, kernel) + in_kernel


def _by_example(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    """Convolves one example after another, as a matrix product with its patches.

    The transpose, the gradient of the kernel, then adds one small product per example: XLA on CPU
    needs up to four times as long for the convolution with a kernel as large as the image that
    it would make of it otherwise. Patches are computed again there instead of being kept.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    patches = partial(_patches, size=kernel.shape[:2], stride=stride, padding=padding)
    return lax.map(jax.checkpoint(lambda image: patches(image) @ matrix, prevent_cse=False), x)


def _patches(image: Array, size: tuple[int, int], stride: int, padding: Padding) -> Array:
    """Returns the patch [i·j·c] under the kernel at each place, [h2, w2, i·j·c]."""
    image = jnp.pad(image, (*padding, (0, 0)))
    height, width = ((n - k) // stride + 1 for n, k in zip(image.shape[:2], size, strict=True))
    places = [
        image[i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
        for i in range(size[0])
        for j in range(size[1])
    ]
    return jnp.concatenate(places, axis=-1)
