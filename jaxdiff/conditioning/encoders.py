"""Encoders of conditions, as `config.encoders` names them: a table from condition to encoder.

    config.encoders = {"text": {"name": "TextEncoder", "settings": "minilm_l6"}}
    config.weights.text = "path/to/it"

An encoder maps the values of a batch field, such as captions, in two steps: on the host to arrays
of a fixed size, and in the training step, with frozen weights, to a `Condition`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.conditioning import prompts
from jaxdiff.conditioning.emphasis import WeightedIds
from jaxdiff.conditioning.prompts import Encoded
from jaxdiff.conditioning.spans import Spans
from jaxdiff.conditioning.text_encoder import PromptEncoder, TextEncoder
from jaxdiff.conditioning.tokens import TokenIds
from jaxdiff.conditioning.words import OwnWords, Words
from jaxdiff.options import Filled, Width
from jaxdiff.typing import Condition, Encoder, Params

__all__ = ["SD3", "SDXL", "Numbers", "OwnWords", "TextEncoder", "Words", "ZeroTokens"]
KIND = Encoder
"""The kind of objects that the names of this module build."""


class _MultiEncoder(PromptEncoder):
    """Several encoders of the same prompts; subclasses name them as fields and define `join`."""

    def each(self) -> dict[str, Any]:
        """Returns the encoders by name."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {n: part for n, part in parts.items() if isinstance(part, TextEncoder | ZeroTokens)}

    def inputs(self, batch: int) -> dict[str, TokenIds]:
        """Returns the shapes of each encoder's tokens for a batch of this size."""
        return {name: part.inputs(batch) for name, part in self.each().items()}

    def tokens(self, prompts: Sequence[str]) -> dict[str, TokenIds | WeightedIds]:
        """Returns each encoder's tokens."""
        return {name: part.tokens(prompts) for name, part in self.each().items()}

    def states(self, params: Params, inputs: Any) -> Encoded:
        """Returns the joined states of all networks."""
        parts = self.each().items()
        return self.join(**{name: part.states(params[name], inputs[name]) for name, part in parts})

    def network_shapes(self) -> Params:
        """Returns the shapes of the networks' parameters."""
        return {name: part.network_shapes() for name, part in self.each().items()}

    def read(self, target: Params) -> Params:
        """Returns the networks' parameters."""
        return {name: part.read(target[name]) for name, part in self.each().items()}

    def own_shapes(self) -> Any:
        """Returns the shapes of the vectors of one's own words by encoder; None without words."""
        found = {name: part.own_shapes() for name, part in self.each().items()}
        return {name: shape for name, shape in found.items() if shape is not None} or None

    def own_vectors(self, network: Params) -> Any:
        """Returns the first vectors of one's own words, by encoder."""
        found = {name: part.own_vectors(network[name]) for name, part in self.each().items()}
        return {name: own for name, own in found.items() if own is not None}

    def fingerprint(self) -> str:
        """Returns the encoders' hashes."""
        return " ".join(part.fingerprint() for part in self.each().values())


@dataclass(frozen=True)
class ZeroTokens:
    """Zeros for the tokens of an encoder that is left out, as Stable Diffusion 3's T5 may be."""

    window: Width = 256
    width: Width = 4096

    def inputs(self, batch: int) -> jax.ShapeDtypeStruct:
        """Returns the shape of what `tokens` gives."""
        return jax.ShapeDtypeStruct((batch, self.window), jnp.bool_)

    def tokens(self, prompts: Sequence[str]) -> np.ndarray:
        """Returns the mask of the tokens [b, n], all of which count."""
        return np.ones((len(prompts), self.window), bool)

    def states(self, params: Params, inputs: Any) -> Encoded:
        """Returns zeros [b, n, width] and no vector."""
        mask = jnp.asarray(inputs)
        return Encoded(jnp.zeros((*mask.shape, self.width)), mask, None)

    def network_shapes(self) -> Params:
        """Returns no parameters."""
        return {}

    def read(self, target: Params) -> Params:
        """Returns no parameters."""
        return {}

    def own_shapes(self) -> None:
        """Returns None: there are no words of one's own."""

    def own_vectors(self, network: Params) -> None:
        """Returns None: there are no words of one's own."""

    def fingerprint(self) -> str:
        """Returns a name."""
        return "zeros"


@dataclass(frozen=True)
class SDXL(_MultiEncoder):
    """The two encoders of SDXL, their features concatenated (Podell et al., 2023).

    Their settings have `clip_skip=1, final_norm=False`, as "openclip_bigg_14" has. With
    `zero_null`, zeros stand in place of the encoding of the empty prompt, as for SDXL's base model.
    The refiner has no first encoder: `clip_l=None`.
    """

    clip_l: TextEncoder | None
    bigg: TextEncoder
    zero_null: bool = False

    @staticmethod
    def join(bigg: Encoded, clip_l: Encoded | None = None) -> Encoded:
        """Returns the states of both encoders, or of the second alone."""
        return bigg if clip_l is None else prompts.sdxl(clip_l, bigg)

    def spans(self, prompt: str) -> Spans:
        """Returns the places of the tokens of each word, the same for both encoders."""
        return self.bigg.spans(prompt)

    def empty(self, params: Params) -> Condition:
        """Returns the encoding of the empty prompt, or zeros."""
        null = super().empty(params)
        if not self.zero_null:
            return null
        zeros = {name: jnp.zeros_like(getattr(null, name)) for name in ("value", "pooled")}
        return replace(null, **zeros)


@dataclass(frozen=True)
class SD3(_MultiEncoder):
    """The three encoders of Stable Diffusion 3 (Esser et al., 2024)."""

    clip_l: TextEncoder
    bigg: TextEncoder
    t5: TextEncoder | ZeroTokens
    join = staticmethod(prompts.sd3)


@dataclass(frozen=True)
class Numbers:
    """Rows of numbers, passed on unchanged, such as the image sizes that SDXL reads.

    `default` replaces dropped and absent rows.
    """

    default: Annotated[Sequence[float | int], Filled()]

    rank = 1

    def prepare(self, values: Sequence[Any]) -> np.ndarray:
        """Returns the numbers [b, count].

        Raises:
            ValueError: a row has another count than the default.
        """
        rows = np.asarray(values, np.float32)
        if rows.ndim != 2 or rows.shape[1] != len(self.default):
            raise ValueError(f"numbers of shape {rows.shape}; expected [b, {len(self.default)}]")
        return rows

    def inputs(self, batch: int) -> jax.ShapeDtypeStruct:
        """Returns the shape of a batch of this size."""
        return jax.ShapeDtypeStruct((batch, len(self.default)), jnp.float32)

    def encode(self, params: Params, inputs: Any) -> Condition:
        """Returns the numbers."""
        return Condition(inputs)

    def empty(self, params: Params) -> Condition:
        """Returns the default."""
        return Condition(jnp.asarray([self.default], jnp.float32))
