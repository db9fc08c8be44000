"""Conditions that reach the network as one vector: a table of field names and kinds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdiff.networks.layers import Dense, SinCos, TimeEmbedding
from jaxdiff.typing import Cond

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
        if value.ndim != 2 or value.shape[1] != self.size:
            raise ValueError(f"cond[{name!r}] has shape {value.shape}; expected [b, {self.size}]")
        return Dense(features, dtype=dtype, name=name)(value)


@dataclass(frozen=True)
class Time:
    """A second time [b], on the scale of the first, such as the end of a step."""

    def embed(self, name: str, value: Array, features: int, dtype: Any) -> Array:
        """Embeds the times as the network embeds its own."""
        if value.ndim != 1:
            raise ValueError(f"cond[{name!r}] has shape {value.shape}; times are [b]")
        return TimeEmbedding(features, features // 4, SinCos(), dtype=dtype, name=name)(value)


Kind = Label | Vector | Time


def fields(
    num_classes: int | None = None,
    vectors: Mapping[str, int] | None = None,
    times: tuple[str, ...] = (),
) -> dict[str, Kind]:
    """Returns the table of a network's conditions; `num_classes` is for the field "label"."""
    label = {} if num_classes is None else {"label": Label(num_classes)}
    sizes = {name: Vector(size) for name, size in (vectors or {}).items()}
    return {**label, **sizes, **{name: Time() for name in times}}


class ConditionEmbedding(nn.Module):
    """The sum of the embeddings of all conditions.

    Where `cond["<name>_kept"]` is False, and everywhere if `cond` has no such field, a learned null
    embedding stands in. Fields that the table does not name are ignored.

    Raises:
        ValueError: a field has the wrong shape or type.
    """

    fields: Mapping[str, Kind]
    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, cond: Cond, batch: int) -> Float[Array, "b d"]:
        """Returns one vector per example."""
        total = jnp.zeros((batch, self.features), self.dtype)
        for name, kind in self.fields.items():
            null = self.param(f"{name}_null", embedding_init, (self.features,)).astype(self.dtype)
            # The parameters of a field that is absent exist from the start all the same.
            if name in cond or self.is_initializing():
                value = cond[name] if name in cond else _example(kind, batch)
                embedded = kind.embed(name, value, self.features, self.dtype)
                total += jnp.where(_kept(cond, name, batch)[:, None], embedded, null)
            else:
                total += null
        return total


def _kept(cond: Cond, name: str, batch: int) -> Bool[Array, " b"]:
    return jnp.asarray(cond.get(f"{name}_kept", jnp.ones(batch, bool)))


def _example(kind: Kind, batch: int) -> Array:
    match kind:
        case Label():
            return jnp.zeros(batch, jnp.int32)
        case Vector(size):
            return jnp.zeros((batch, size))
        case Time():
            return jnp.zeros(batch)
