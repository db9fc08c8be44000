"""The kinds of conditions, and the tables of field names and kinds that networks read by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff.networks.layers import Dense, SinCos, TimeEmbedding

embedding_init = nn.initializers.normal(0.02)


@dataclass(frozen=True)
class Label:
    """A class: an integer [b] from 0 to `num_classes` - 1. Out of range, it embeds as NaN."""

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
class Numbers:
    """Numbers [b, count], such as the size of an image, each by its sines and cosines."""

    count: int
    wave_features: int

    @property
    def size(self) -> int:
        """The number of features."""
        return self.count * self.wave_features

    def read(self, name: str, value: Array) -> Array:
        """Returns the features of all numbers."""
        if value.ndim != 2 or value.shape[1] != self.count:
            raise ValueError(f"cond[{name!r}] has shape {value.shape}; expected [b, {self.count}]")
        return SinCos()(value.reshape(-1), self.wave_features).reshape(len(value), self.size)


@dataclass(frozen=True)
class Time:
    """A second time [b], on the scale of the first, such as the end of a step."""

    def embed(self, name: str, value: Array, features: int, dtype: Any) -> Array:
        """Embeds the times as the network embeds its own."""
        if value.ndim != 1:
            raise ValueError(f"cond[{name!r}] has shape {value.shape}; times are [b]")
        return TimeEmbedding(features, features // 4, SinCos(), dtype=dtype, name=name)(value)


@dataclass(frozen=True)
class Tokens:
    """Tokens [b, n, size], and `cond["<name>_mask"]` [b, n] where not all of them count."""

    size: int

    def read(self, name: str, value: Array, mask: Array | None) -> Array:
        """Returns the tokens."""
        if value.ndim != 3 or value.shape[2] != self.size:
            raise ValueError(
                f"cond[{name!r}] has shape {value.shape}; expected [b, n, {self.size}]"
            )
        if mask is not None and (mask.shape != value.shape[:2] or mask.dtype != bool):
            raise ValueError(
                f"cond['{name}_mask'] is {mask.dtype}{list(mask.shape)}; expected"
                f" bool{list(value.shape[:2])}, as cond[{name!r}] has tokens"
            )
        return value


@dataclass(frozen=True)
class Map:
    """An image or a clip [b, ..., channels] of the network's own size, such as a mask."""

    channels: int

    def read(self, name: str, value: Array, x: Array) -> Array:
        """Returns the map, which must lie as `x` does."""
        expected = (*x.shape[:-1], self.channels)
        if value.shape != expected:
            raise ValueError(f"cond[{name!r}] has shape {value.shape}; expected {expected}")
        return value


Kind = Label | Vector | Numbers | Time | Tokens | Map


def fields_of(
    num_classes: int | None = None,
    vectors: Mapping[str, int] | None = None,
    times: tuple[str, ...] = (),
) -> dict[str, Kind]:
    """Returns the table of a network's conditions; `num_classes` is for the field "label"."""
    label = {} if num_classes is None else {"label": Label(num_classes)}
    sizes = {name: Vector(size) for name, size in (vectors or {}).items()}
    return {**label, **sizes, **{name: Time() for name in times}}


def joint_fields(
    vectors: Mapping[str, int] | None = None,
    numbers: Mapping[str, int] | None = None,
    wave_features: int = 256,
) -> dict[str, Vector | Numbers]:
    """Returns the table of the conditions that share a perceptron."""
    sizes = {name: Vector(size) for name, size in (vectors or {}).items()}
    counts = {name: Numbers(count, wave_features) for name, count in (numbers or {}).items()}
    return {**sizes, **counts}


def example_of(kind: Kind, batch: int) -> Array:
    """Returns a value of that kind, for the shapes of what reads it."""
    match kind:
        case Label():
            return jnp.zeros(batch, jnp.int32)
        case Vector(size):
            return jnp.zeros((batch, size))
        case Numbers(count):
            return jnp.zeros((batch, count))
        case Time():
            return jnp.zeros(batch)
        case Tokens(size):
            return jnp.zeros((batch, 1, size))
