"""LPIPS: the perceptual distance of two images by AlexNet or VGG16 (Zhang et al., 2018)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Params = Mapping[str, Array]
"""Arrays by PyTorch's names: "net.slice1.0.weight" [o, i, h, w], "lin0.model.1.weight"."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of the colours: ImageNet's mean and deviation, for images in [-1, 1]."""


class Conv(NamedTuple):
    """A convolution of a slice, by its place in the network's list."""

    name: str
    stride: int = 1
    padding: int = 1


class Slice(NamedTuple):
    """Convolutions with ReLU, after a maximum over windows of a size (0 for none), two apart."""

    pool: int
    convs: tuple[Conv, ...]


def _vgg(pool: int, number: int, *places: int) -> Slice:
    return Slice(pool, tuple(Conv(f"slice{number}.{place}") for place in places))


NETWORKS: Mapping[str, tuple[Slice, ...]] = {
    "alex": (
        Slice(0, (Conv("slice1.0", 4, 2),)),
        Slice(3, (Conv("slice2.3", 1, 2),)),
        Slice(3, (Conv("slice3.6"),)),
        Slice(0, (Conv("slice4.8"),)),
        Slice(0, (Conv("slice5.10"),)),
    ),
    "vgg": (
        _vgg(0, 1, 0, 2),
        _vgg(2, 2, 5, 7),
        _vgg(2, 3, 10, 12, 14),
        _vgg(2, 4, 17, 19, 21),
        _vgg(2, 5, 24, 26, 28),
    ),
}
"""The slices of the networks in the order of torchvision's."""


def keys_of(network: str) -> list[str]:
    """Returns the names of a network's arrays."""
    slices = NETWORKS[network]
    convs = [conv.name for each in slices for conv in each.convs]
    found = [f"net.{name}.{part}" for name in convs for part in ("weight", "bias")]
    return found + [f"lin{i}.model.1.weight" for i in range(len(slices))]


def distance(
    network: str, params: Params, x: Float[Array, "b h w 3"], y: Float[Array, "b h w 3"]
) -> Float[Array, " b"]:
    """Returns the distance of images in [-1, 1]: 0 for equal ones.

    The features of a place are scaled to unit length; the squared differences are weighted by
    channel, summed, and averaged over places; the slices are added up (equation 1).
    """
    total = jnp.zeros(len(x))
    unit = lambda a: a / (jnp.linalg.norm(a, axis=-1, keepdims=True) + 1e-10)
    pairs = zip(maps(network, params, x), maps(network, params, y), strict=True)
    for i, (a, b) in enumerate(pairs):
        weight = params[f"lin{i}.model.1.weight"].reshape(-1)
        total += (weight * jnp.square(unit(a) - unit(b))).sum(-1).mean((1, 2))
    return total


def maps(network: str, params: Params, x: Float[Array, "b h w 3"]) -> list[Float[Array, "b _ _ _"]]:
    """Returns the features after each slice."""
    h: Any = (x - jnp.array(SHIFT)) / jnp.array(SCALE)
    found = []
    for pool, convs in NETWORKS[network]:
        h = nn.max_pool(h, (pool, pool), (2, 2)) if pool else h
        for name, stride, padding in convs:
            kernel, bias = (params[f"net.{name}.{part}"] for part in ("weight", "bias"))
            h = lax.conv_general_dilated(
                h,
                kernel,
                (stride, stride),
                [(padding, padding)] * 2,
                dimension_numbers=("NHWC", "OIHW", "NHWC"),
            )
            h = nn.relu(h + bias)
        found.append(h)
    return found
