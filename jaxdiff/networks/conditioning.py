"""Embeds conditions and time into vectors, tokens and input channels.

Labels, vectors, numbers and times reach the network as one vector, tokens as a sequence, maps as
further channels of its input. Where a condition is dropped, and everywhere if it is absent, a
learned null embedding stands in. A network without them takes kept conditions only:
`condition.fill` puts the encoding of an empty prompt in, outside of the network.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdiff.condition import along, fields
from jaxdiff.networks.fields import (
    Kind,
    Map,
    Numbers,
    Tokens,
    Vector,
    embedding_init,
    example_of,
    fields_of,
    joint_fields,
)
from jaxdiff.networks.layers import Dense, TimeEmbedding
from jaxdiff.typing import Cond


class ConditionEmbedding(nn.Module):
    """The sum of the embeddings of all conditions; fields that the table does not name are ignored.

    Raises:
        ValueError: a field has the wrong shape or type; without `learned_null`, it is missing, or
            it may be dropped.
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
        kind, mask = Tokens(self.size), fields(cond)[0].get(f"{self.field}_mask")
        null = _null(self, "null", self.size)
        value = _value(self, cond, self.field, kind, batch)
        if value is None:
            return jnp.broadcast_to(null, (batch, 1, self.size)), None
        tokens = kind.read(self.field, value, mask).astype(self.dtype)
        return _chosen(cond, self.field, tokens, null), mask


class MapCondition(nn.Module):
    """An input with the map of a field as further channels (Saharia et al., 2022).

    The null embedding is one vector at every place.

    Raises:
        ValueError: as in `ConditionEmbedding`.
    """

    field: str
    channels: int
    dtype: Any = jnp.float32
    learned_null: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], cond: Cond) -> Float[Array, "b *space d"]:
        """Returns `x` with the map behind its channels."""
        kind, null = Map(self.channels), _null(self, "null", self.channels)
        here = (*x.shape[:-1], self.channels)
        if self.is_initializing():
            cond = {self.field: jnp.zeros(here), **cond}
        value = _value(self, cond, self.field, kind, len(x))
        value = value if value is None else kind.read(self.field, value, x).astype(self.dtype)
        chosen = _chosen(cond, self.field, value, null)
        return jnp.concatenate([x, jnp.broadcast_to(chosen, here)], axis=-1)


def embed(
    network: Any, time: Float[Array, " b"], cond: Cond, features: int, wave_features: int
) -> Float[Array, "b features"]:
    """Returns one vector per example, for use inside of the network's compact method.

    Of `network` it reads `waves`, `num_classes`, `vectors`, `times`, `joint_vectors`,
    `joint_numbers`, `number_features`, `learned_null` and `dtype`.

    Raises:
        ValueError: a condition has another shape than it should, or is missing.
    """
    total = TimeEmbedding(features, wave_features, network.waves, network.dtype, name="time")(time)
    table = fields_of(network.num_classes, network.vectors, tuple(network.times))
    joint = joint_fields(network.joint_vectors, network.joint_numbers, network.number_features)
    options = features, network.dtype, network.learned_null
    if table:
        part = ConditionEmbedding(table, *options, name="cond")
        total += part(cond, time.shape[0])
    if joint:
        part = JointEmbedding(joint, *options, name="joint")
        total += part(cond, time.shape[0])
    return total


def read_text(
    network: Any, cond: Cond, batch: int
) -> tuple[Float[Array, "b n d"] | None, Bool[Array, "b n"] | None]:
    """Returns the tokens of cond["text"] and which of them count, None where all do.

    Of `network` it reads `text_features`, without which there is no text, `learned_null` and
    `dtype`.

    Raises:
        ValueError: the text has another shape than it should, or is missing.
    """
    if network.text_features is None:
        return None, None
    read = TokenCondition(
        "text", network.text_features, network.dtype, network.learned_null, name="text"
    )
    return read(cond, batch)


def with_maps(
    network: Any, x: Float[Array, "b *space c"], cond: Cond
) -> Float[Array, "b *space d"]:
    """Returns the input with the maps of `cond` behind its channels, in the order of the options.

    Of `network` it reads `maps`, name and channels of each, `learned_null` and `dtype`.

    Raises:
        ValueError: a map has another shape than it should, or is missing.
    """
    for name, channels in (network.maps or {}).items():
        part = MapCondition(name, channels, network.dtype, network.learned_null, name=f"map_{name}")
        x = part(x, cond)
    return x


def _null(module: nn.Module, name: str, size: int) -> Array | None:
    if not module.learned_null:
        return None
    return module.param(name, embedding_init, (size,)).astype(module.dtype)


def _value(module: nn.Module, cond: Cond, name: str, kind: Kind, batch: int) -> Array | None:
    """Returns a field, or None where the null embedding stands in for all examples."""
    values, keep = fields(cond)
    if not module.learned_null and name in keep:
        raise ValueError(
            f"cond may drop {name!r}, but the network has no null embedding for it"
            " (learned_null=False); `fill` puts in the encoding of an empty prompt"
        )
    if name in values:
        return values[name]
    # The parameters of a field that is absent exist from the start all the same.
    if module.is_initializing():
        return example_of(kind, batch)
    if not module.learned_null:
        known = ", ".join(sorted(values)) or "nothing"
        raise ValueError(
            f"cond has no {name!r}, only {known}, and the network has no null embedding for it"
            " (learned_null=False); give the encoding of an empty prompt"
        )
    return None


def _chosen(cond: Cond, name: str, value: Array | None, null: Array | None) -> Array:
    """Returns the value where it is kept, and else the null embedding."""
    if value is None or null is None:
        return null if value is None else value
    _, keep = fields(cond)
    return jnp.where(along(keep[name], value), value, null) if name in keep else value
