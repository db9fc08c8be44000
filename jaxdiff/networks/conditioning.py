"""Embeds conditions into vectors, tokens and input channels.

Labels, vectors, numbers and scalars reach the network as one vector, tokens as a sequence, maps as
further channels of its input. A learned null embedding replaces a condition that is absent, and a
dropped one in the examples where `Condition.keep` is False. Scalars are always there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from jaxdiff.condition import choose, conditions
from jaxdiff.networks.fields import (
    Kind,
    Map,
    Numbers,
    Pooled,
    Scalar,
    Tokens,
    Vector,
    embedding_init,
    example_of,
)
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import Dense, feed_forward
from jaxdiff.networks.times import SinCos, TimeEmbedding
from jaxdiff.typing import Cond, Condition


class ConditionEmbedding(nn.Module):
    """The sum of the embeddings of the conditions in `fields`; others are ignored.

    Raises:
        ValueError: a condition has the wrong shape or type; without `learned_null`, it is missing,
            or may be dropped.
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
            if isinstance(kind, Scalar):
                value = _scalar(self, cond, name, kind, batch)
                total += kind.embed(name, value, self.features, self.dtype)
                continue
            null = _null(self, f"{name}_null", self.features)
            found = _find(self, cond, name, kind, batch)
            value = found and kind.embed(name, found.value, self.features, self.dtype)
            total += _chosen(found, value, null)
        return total


class JointEmbedding(nn.Module):
    """Concatenated vectors and numbers through an MLP (Podell et al., 2023, section 2.2).

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
            found = _find(self, cond, name, kind, batch)
            part = _chosen(found, found and kind.read(name, found.value), null)
            parts.append(jnp.broadcast_to(part, (batch, kind.size)))
        joined = jnp.concatenate(parts, axis=-1)
        hidden = Dense(self.features, dtype=self.dtype, name="hidden")(joined)
        return Dense(self.features, dtype=self.dtype, name="out")(nn.silu(hidden))


class SlicedEmbedding(nn.Module):
    """Embedded numbers side by side, each as wide as the others (Chen et al., 2023).

    Raises:
        ValueError: as in `ConditionEmbedding`; or the numbers do not divide the features.
    """

    fields: Mapping[str, Numbers]
    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, cond: Cond, batch: int) -> Float[Array, "b f"]:
        """Returns one vector per example."""
        count = sum(kind.count for kind in self.fields.values())
        if self.features % count:
            raise ValueError(f"features={self.features} must be a multiple of {count} numbers")
        width, parts = self.features // count, []
        for name, kind in self.fields.items():
            found = _find(self, cond, name, kind, batch)
            waves = rearrange(kind.read(name, found.value), "b (n f) -> b n f", n=kind.count)
            options = {"dtype": self.dtype, "prefix": f"{name}_"}
            part = feed_forward(waves, width, width, nn.silu, **options)
            parts.append(rearrange(part, "b n f -> b (n f)"))
        return jnp.concatenate(parts, axis=-1)

    @property
    def learned_null(self) -> bool:
        """Returns False: numbers are always there."""
        return False


class TokenCondition(nn.Module):
    """The tokens of a condition, and their mask.

    The null embedding is one vector at every token: the result of attention to equal tokens does
    not depend on their number.

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
        """Returns the tokens and their mask, None if no token is to be ignored."""
        kind, null = Tokens(self.size), _null(self, "null", self.size)
        found = _find(self, cond, self.field, kind, batch)
        if found is None:
            return jnp.broadcast_to(null, (batch, 1, self.size)), None
        tokens = kind.read(self.field, found.value, found.mask).astype(self.dtype)
        return _chosen(found, tokens, null), found.mask


class MapCondition(nn.Module):
    """The input with a map appended to its channels (Saharia et al., 2022).

    The null embedding is one vector at every pixel.

    Raises:
        ValueError: as in `ConditionEmbedding`.
    """

    field: str
    channels: int
    dtype: Any = jnp.float32
    learned_null: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], cond: Cond) -> Float[Array, "b *space d"]:
        """Returns `x` with the map appended."""
        kind, null = Map(self.channels), _null(self, "null", self.channels)
        here = (*x.shape[:-1], self.channels)
        if self.is_initializing():
            cond = {self.field: jnp.zeros(here), **cond}
        found = _find(self, cond, self.field, kind, len(x))
        value = found and kind.read(self.field, found.value, x).astype(self.dtype)
        chosen = _chosen(found, value, null)
        return jnp.concatenate([x, jnp.broadcast_to(chosen, here)], axis=-1)


class GuidanceProjection(nn.Module):
    """Sines and cosines of cond["guidance_scale"] - 1, mapped to those of a time (Luo et al. 2023).

    Raises:
        ValueError: the scale is missing.
    """

    features: int
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, cond: Cond, batch: int) -> Float[Array, "b w"]:
        """Returns one vector per example."""
        scale = _scalar(self, cond, "guidance_scale", Scalar(), batch)
        waves = SinCos(cos_first=False, frequency_shift=1.0)(1000 * (scale - 1), self.features)
        return nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="map")(waves)


def embed(
    inputs: Inputs,
    embed_time: TimeEmbedding,
    time: Float[Array, " b"],
    cond: Cond,
) -> Float[Array, "b features"]:
    """Returns the sum of the embeddings of time and conditions, inside of a compact method.

    Raises:
        ValueError: a condition is missing, or has another shape than `inputs` names.
    """
    added = None
    if inputs.guidance_features:
        sizes = inputs.guidance_features, embed_time.time_features, embed_time.dtype
        added = GuidanceProjection(*sizes, name="guidance")(cond, len(time))
    total = embed_time(time, added)
    options = embed_time.features, embed_time.dtype, inputs.learned_null
    if fields := inputs.embedded():
        total += ConditionEmbedding(fields, *options, name="cond")(cond, len(time))
    if fields := inputs.joint():
        total += JointEmbedding(fields, *options, name="joint")(cond, len(time))
    if fields := inputs.sliced():
        total += SlicedEmbedding(fields, *options[:2], name="sliced")(cond, len(time))
    return total


def read_text(
    inputs: Inputs, cond: Cond, batch: int, dtype: Any
) -> tuple[Float[Array, "b n d"] | None, Bool[Array, "b n"] | None]:
    """Returns the tokens of cond["text"] and their mask; None for no text, and for no mask.

    Raises:
        ValueError: the text is missing, or has another shape than `inputs` names.
    """
    if inputs.text_features is None:
        return None, None
    read = TokenCondition("text", inputs.text_features, dtype, inputs.learned_null, name="text")
    return read(cond, batch)


def read_image(inputs: Inputs, cond: Cond, batch: int, dtype: Any) -> Float[Array, "b n d"] | None:
    """Returns the tokens of cond["image_prompt"]; None for no image prompts.

    Raises:
        ValueError: it is missing, or has another shape than `inputs` names.
    """
    if inputs.image_features is None:
        return None
    name, options = "image_prompt", (dtype, inputs.learned_null)
    return TokenCondition(name, inputs.image_features, *options, name="image")(cond, batch)[0]


def with_maps(
    inputs: Inputs, x: Float[Array, "b *space c"], cond: Cond, dtype: Any
) -> Float[Array, "b *space d"]:
    """Returns `x` with the maps of `cond` appended to its channels, in the order of `inputs.maps`.

    Raises:
        ValueError: a map is missing, or has another shape than `inputs` names.
    """
    for name, channels in inputs.maps.items():
        append = MapCondition(name, channels, dtype, inputs.learned_null, name=f"map_{name}")
        x = append(x, cond)
    return x


def _null(module: nn.Module, name: str, size: int) -> Array | None:
    if not module.learned_null:
        return None
    return module.param(name, embedding_init, (size,)).astype(module.dtype)


def _scalar(module: nn.Module, cond: Cond, name: str, kind: Scalar, batch: int) -> Array:
    """Returns a number for each example, which is there also where conditions are dropped."""
    if name in cond:
        return conditions(cond)[name].value
    if module.is_initializing():
        return example_of(kind, batch)
    known = ", ".join(sorted(cond)) or "nothing"
    raise ValueError(f"cond has no {name!r}, which the network reads, only {known}")


def _find(module: nn.Module, cond: Cond, name: str, kind: Kind, batch: int) -> Condition | None:
    """Returns a condition; None if it is absent, so that every example has the null embedding."""
    name, part = ("text", "pooled") if isinstance(kind, Pooled) else (name, "value")
    found = conditions(cond).get(name, Condition(None))
    if not module.learned_null and found.keep is not None:
        raise ValueError(
            f"cond[{name!r}].keep is given, but the network has no null embedding for dropped"
            " conditions (learned_null=False); fill them with the encoding of the empty prompt"
        )
    value = getattr(found, part)
    if value is not None:
        return replace(found, value=value)
    # The parameters of an absent condition exist from the start all the same.
    if module.is_initializing():
        return Condition(example_of(kind, batch))
    if not module.learned_null:
        known = ", ".join(sorted(cond)) or "nothing"
        missing = f"cond[{name!r}] has no {part}" if name in cond else f"cond has no {name!r}"
        raise ValueError(
            f"{missing}, only {known}, and the network has no null embedding for it"
            " (learned_null=False); give the encoding of an empty prompt"
        )
    return None


def _chosen(condition: Condition | None, value: Array | None, null: Array | None) -> Array:
    """Returns the value where the condition is kept, and the null embedding elsewhere."""
    if condition is None:
        return null
    return value if null is None else choose(condition, value, null)
