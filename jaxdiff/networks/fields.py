"""The kinds of conditions that networks read: labels, vectors, numbers, scalars, tokens, maps."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff.networks.layers import Dense, feed_forward, zero_init
from jaxdiff.networks.times import SinCos

embedding_init = nn.initializers.normal(0.02)


@dataclass(frozen=True)
class Label:
    """A class: an integer [b] from 0 to `num_classes` - 1; out of range, the embedding is NaN."""

    num_classes: int

    def embed(self, name: str, value: Array, features: int, dtype: Any) -> Array:
        """Looks the classes up in a learned table."""
        if value.ndim != 1 or not jnp.issubdtype(value.dtype, jnp.integer):
            raise ValueError(
                f"cond[{name!r}] is {value.dtype}{list(value.shape)}; classes are integers [b]"
            )
        table = nn.Embed(self.num_classes, features, embedding_init=embedding_init, name=name)
        return table(value).astype(dtype)


@dataclass(frozen=True)
class Vector:
    """A vector [b, size]."""

    size: int

    def embed(self, name: str, value: Array, features: int, dtype: Any) -> Array:
        """Maps the vectors by a learned affine map."""
        return Dense(features, dtype=dtype, name=name)(self.read(name, value))

    def read(self, name: str, value: Array) -> Array:
        """Returns the vectors."""
        if value.ndim != 2 or value.shape[1] != self.size:
            raise ValueError(f"cond[{name!r}] has shape {value.shape}; expected [b, {self.size}]")
        return value


@dataclass(frozen=True)
class Pooled(Vector):
    """The pooled vector [b, size] of the condition "text"."""

    def read(self, name: str, value: Array) -> Array:
        """Returns the vectors."""
        if value.ndim != 2 or value.shape[1] != self.size:
            raise ValueError(f"cond['text'].pooled is {value.shape}; expected [b, {self.size}]")
        return value


@dataclass(frozen=True)
class Numbers:
    """Numbers [b, count], such as the size of an image, each embedded by sines and cosines."""

    count: int
    features: int = 256
    sinusoids: SinCos = SinCos()

    @property
    def size(self) -> int:
        """The number of features."""
        return self.count * self.features

    def read(self, name: str, value: Array) -> Array:
        """Returns the features of all numbers."""
        if value.ndim != 2 or value.shape[1] != self.count:
            raise ValueError(f"cond[{name!r}] has shape {value.shape}; expected [b, {self.count}]")
        return self.sinusoids(value.reshape(-1), self.features).reshape(len(value), self.size)


@dataclass(frozen=True)
class Scalar:
    """A number [b], such as the end of a step or a guidance scale.

    Multiplied by `factor` it is embedded as a network's time is, which is expected in steps of a
    thousand. The embedding is zero at first.
    """

    factor: float = 1.0

    def embed(self, name: str, value: Array, features: int, dtype: Any) -> Array:
        """Maps sines and cosines of the numbers by an MLP whose last layer begins at zero."""
        if value.ndim != 1:
            raise ValueError(f"cond[{name!r}] has shape {value.shape}; expected [b]")
        waves = SinCos()(self.factor * value, features // 4)
        options = {"dtype": dtype, "prefix": f"{name}_", "out_init": zero_init}
        return feed_forward(waves, features, features, nn.silu, **options)


@dataclass(frozen=True)
class Tokens:
    """Tokens [b, n, size], with a mask [b, n] if some are to be ignored."""

    size: int

    def read(self, name: str, value: Array, mask: Array | None) -> Array:
        """Returns the tokens."""
        if value.ndim != 3 or value.shape[2] != self.size:
            raise ValueError(
                f"cond[{name!r}] has shape {value.shape}; expected [b, n, {self.size}]"
            )
        if mask is not None and (mask.shape != value.shape[:2] or mask.dtype != bool):
            raise ValueError(
                f"cond[{name!r}].mask is {mask.dtype}{list(mask.shape)}; expected"
                f" bool{list(value.shape[:2])}, one for each token"
            )
        return value


@dataclass(frozen=True)
class Map:
    """An image or a clip [b, ..., channels] of the size of the input, such as a mask."""

    channels: int

    def read(self, name: str, value: Array, x: Array) -> Array:
        """Returns the map, whose batch and size must be those of `x`."""
        expected = (*x.shape[:-1], self.channels)
        if value.shape != expected:
            raise ValueError(f"cond[{name!r}] has shape {value.shape}; expected {expected}")
        return value


Kind = Label | Vector | Pooled | Numbers | Scalar | Tokens | Map


def example_of(kind: Kind, batch: int) -> Array:
    """Returns zeros in the shape of a kind, from which parameters are initialized."""
    match kind:
        case Label():
            return jnp.zeros(batch, jnp.int32)
        case Vector(size):
            return jnp.zeros((batch, size))
        case Numbers(count):
            return jnp.zeros((batch, count))
        case Scalar():
            return jnp.zeros(batch)
        case Tokens(size):
            return jnp.zeros((batch, 1, size))
