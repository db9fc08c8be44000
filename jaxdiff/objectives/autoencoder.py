"""Errors of reconstructions: of pixels, and of features."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

PerExample = Float[Array, " b"]


def absolute_error(x: Float[Array, "b *shape"], y: Float[Array, "b *shape"]) -> PerExample:
    """Returns the mean of |y - x| over the values of each example."""
    return reduce(jnp.abs(y - x), "b ... -> b", "mean")


def squared_error(x: Float[Array, "b *shape"], y: Float[Array, "b *shape"]) -> PerExample:
    """Returns the mean of (y - x)² over the values of each example."""
    return reduce(jnp.square(y - x), "b ... -> b", "mean")


ERRORS: Mapping[str, Callable[[Array, Array], Array]] = {
    "absolute": absolute_error,
    "squared": squared_error,
}
"""The errors of pixels by name."""


def perceptual_error(
    x: Sequence[Float[Array, "b ..."]], y: Sequence[Float[Array, "b ..."]]
) -> PerExample:
    """Returns the distance of two images in the feature maps [b, h, w, c] of some layers.

    The features of a place are scaled to unit length; the squared differences are summed over
    channels and averaged over places and layers (Zhang et al. 2018, eq. 1, with equal weights).
    """
    unit = lambda a: a / (jnp.linalg.norm(a, axis=-1, keepdims=True) + 1e-6)
    of_layer = lambda a, b: reduce(jnp.square(unit(a) - unit(b)).sum(-1), "b ... -> b", "mean")
    layers = [of_layer(a, b) for a, b in zip(x, y, strict=True)]
    return sum(layers, jnp.zeros(len(x[0]))) / len(layers)
