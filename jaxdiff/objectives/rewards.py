"""Rewards: functions `(images [b, h, w, c] in [-1, 1], cond) -> [b]`, higher for better pictures.

One of your own is named as "module:Name"; it is a class without arguments, or with options.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

from jaxdiff.options import Share, checked
from jaxdiff.typing import Cond


@runtime_checkable
class Reward(Protocol):
    """A taste: a number for each picture."""

    def __call__(self, images: Array, cond: Cond) -> Array:
        """Returns the rewards [b] of images in [-1, 1]."""


KIND = Reward
"""The kind of objects that the names of this module build."""

Images = Float[Array, "b *shape"]


@checked
@dataclass(frozen=True)
class Brightness:
    """The mean of all values, from -1 to 1, or minus its distance to `wanted`.

    Without `wanted`, the brighter the better.
    """

    wanted: float | None = None

    def __call__(self, images: Images, cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        mean = reduce(jnp.clip(images, -1, 1), "b ... -> b", "mean")
        return mean if self.wanted is None else -jnp.abs(mean - self.wanted)


@checked
@dataclass(frozen=True)
class Compressibility:
    """Minus the mean difference of neighbouring pixels: flat pictures make small files.

    Black et al. (2024) take the size of a JPEG; this is its stand-in as a function of arrays.
    """

    def __call__(self, images: Float[Array, "b h w c"], cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        images = jnp.clip(images, -1, 1)
        across = jnp.abs(jnp.diff(images, axis=1)).mean(axis=(1, 2, 3))
        return -across - jnp.abs(jnp.diff(images, axis=2)).mean(axis=(1, 2, 3))


@checked
@dataclass(frozen=True)
class Incompressibility:
    """The mean difference of neighbouring pixels."""

    def __call__(self, images: Float[Array, "b h w c"], cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        return -Compressibility()(images, cond)


@checked
@dataclass(frozen=True)
class Symmetry:
    """Minus the mean difference between a picture and its mirror image."""

    def __call__(self, images: Float[Array, "b h w c"], cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        images = jnp.clip(images, -1, 1)
        return -jnp.abs(images - images[:, :, ::-1]).mean(axis=(1, 2, 3))


@checked
@dataclass(frozen=True)
class Mixed:
    """`share` of one reward and the rest of another."""

    first: Reward
    second: Reward
    share: Share = 0.5

    def __call__(self, images: Images, cond: Cond) -> Float[Array, " b"]:
        """Returns the rewards."""
        first, second = self.first(images, cond), self.second(images, cond)
        return self.share * first + (1 - self.share) * second
