"""Conditions: a table of field names and kinds.

Labels, vectors, numbers and times reach the network as one vector, tokens as a sequence. Where
`cond["<name>_kept"]` is False, and everywhere if `cond` has no such field, a learned null embedding
stands in. A network without them takes whole conditions only: `fill` puts the encoding of an empty
prompt where one is missing, outside of the network.
"""

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


Kind = Label | Vector | Numbers | Time | Tokens


def fields(
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


class ConditionEmbedding(nn.Module):
    """The sum of the embeddings of all conditions; fields that the table does not name are ignored.

    Raises:
        ValueError: a field has the wrong shape or type; without `learned_null`, it is missing, or
            is there with "<name>_kept".
    """

    fields: Mapping[str, Kind]
    features: int
    dtype: Any = jnp.float32
    learned_null: bool = True

    @nn.compact
    def __call__(self, cond: Cond, batch: int) -> Float[Array, "b d"]:
        """Returns one vector per example."""
        total = jnp.zeros((batch, self.features), self.dtype)
        for name, kind in self.fields.items():
            null = _null(self, f"{name}_null", self.features)
            value = _value(self, cond, name, kind, batch)
            if value is not None:
                value = kind.embed(name, value, self.features, self.dtype)
            total += _chosen(cond, name, value, null)
        return total


class JointEmbedding(nn.Module):
    """Vectors and numbers side by side, through a perceptron (Podell et al., 2023, section 2.2).

    Raises:
        ValueError: as in `ConditionEmbedding`.
    """

    fields: Mapping[str, Vector | Numbers]
    features: int
    dtype: Any = jnp.float32
    learned_null: bool = True

    @nn.compact
    def __call__(self, cond: Cond, batch: int) -> Float[Array, "b f"]:
        """Returns one vector per example."""
        parts = []
        for name, kind in self.fields.items():
            null = _null(self, f"{name}_null", kind.size)
            value = _value(self, cond, name, kind, batch)
            part = _chosen(cond, name, None if value is None else kind.read(name, value), null)
            parts.append(jnp.broadcast_to(part, (batch, kind.size)))
        joined = jnp.concatenate(parts, axis=-1)
        hidden = Dense(self.features, dtype=self.dtype, name="hidden")(joined)
        return Dense(self.features, dtype=self.dtype, name="out")(nn.silu(hidden))


class TokenCondition(nn.Module):
    """The tokens of a field.

    The null embedding is one token at every place; attention finds the same, however many there
    are.

    Raises:
        ValueError: as in `ConditionEmbedding`.
    """

    field: str
    size: int
    dtype: Any = jnp.float32
    learned_null: bool = True

    @nn.compact
    def __call__(
        self, cond: Cond, batch: int
    ) -> tuple[Float[Array, "b n d"], Bool[Array, "b n"] | None]:
        """Returns the tokens, and which of them count; None where all do."""
        kind, mask = Tokens(self.size), cond.get(f"{self.field}_mask")
        null = _null(self, "null", self.size)
        value = _value(self, cond, self.field, kind, batch)
        if value is None:
            return jnp.broadcast_to(null, (batch, 1, self.size)), None
        tokens = kind.read(self.field, value, mask).astype(self.dtype)
        return _chosen(cond, self.field, tokens, null), mask


def fill(cond: Cond, empty: Cond, batch: int) -> Cond:
    """Returns `cond` with `empty` where a condition is dropped or absent, and all of them kept.

    For networks without learned null embeddings: `empty` holds the encoding of the empty prompt,
    field by field, with a leading axis of `batch` or of 1. "<name>_mask" goes with "<name>".

    Raises:
        ValueError: a field and what fills it have different shapes.
    """
    filled = dict(cond)
    for name, value in empty.items():
        whole = jnp.broadcast_to(value, (batch, *value.shape[1:]))
        given = cond.get(name, whole)
        if given.shape != whole.shape:
            raise ValueError(
                f"cond[{name!r}] has shape {given.shape}, but what fills it {whole.shape}"
            )
        kept = _kept(cond, name.removesuffix("_mask"))
        filled[name] = jnp.where(_along(kept, given), given, whole)
    dropped = {f"{name}_kept" for name in empty}
    return {name: value for name, value in filled.items() if name not in dropped}


def _null(module: nn.Module, name: str, size: int) -> Array | None:
    if not module.learned_null:
        return None
    return module.param(name, embedding_init, (size,)).astype(module.dtype)


def _value(module: nn.Module, cond: Cond, name: str, kind: Kind, batch: int) -> Array | None:
    """Returns a field, or None where the null embedding stands in for all examples."""
    if not module.learned_null and f"{name}_kept" in cond:
        raise ValueError(
            f"cond has '{name}_kept', but the network has no null embedding for what is dropped"
            " (learned_null=False); `fill` puts in the encoding of an empty prompt"
        )
    if name in cond:
        return cond[name]
    # The parameters of a field that is absent exist from the start all the same.
    if module.is_initializing():
        return _example(kind, batch)
    if not module.learned_null:
        known = ", ".join(sorted(cond)) or "nothing"
        raise ValueError(
            f"cond has no {name!r}, only {known}, and the network has no null embedding for it"
            " (learned_null=False); give the encoding of an empty prompt"
        )
    return None


def _chosen(cond: Cond, name: str, value: Array | None, null: Array | None) -> Array:
    """Returns the value where it is kept, and else the null embedding."""
    if value is None or null is None:
        return null if value is None else value
    return jnp.where(_along(_kept(cond, name), value), value, null)


def _kept(cond: Cond, name: str) -> Bool[Array, " #b"]:
    return jnp.asarray(cond.get(f"{name}_kept", jnp.ones(1, bool)))


def _along(mask: Array, value: Array) -> Array:
    return mask.reshape(-1, *(1,) * (value.ndim - 1))


def _example(kind: Kind, batch: int) -> Array:
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
