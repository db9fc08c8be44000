"""Encoders of conditions, as `config.encoders` names them: a table from condition to encoder.

    config.encoders = {"text": {"name": "TextEncoder", "settings": "minilm_l6"}}
    config.weights.text = "path/to/it"

An encoder maps the values of a batch field, such as captions, in two steps: on the host to arrays
of a fixed size, and in the training step, with frozen weights, to a `Condition`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.conditioning import loading, prompts, tokens
from jaxdiff.conditioning.loading import T5_WINDOW, find_tokenizer
from jaxdiff.conditioning.prompts import Encoded, TextPipeline
from jaxdiff.conditioning.tokens import TokenIds, Tokenizer
from jaxdiff.conditioning.words import Words
from jaxdiff.networks import text as networks
from jaxdiff.options import Filled, FloatType, Width
from jaxdiff.pretrained import fingerprint, resolve
from jaxdiff.typing import Condition, Encoder, Params

__all__ = ["SD3", "SDXL", "Numbers", "TextEncoder", "Words", "ZeroTokens"]
KIND = Encoder
"""The kind of objects that the names of this module build."""


class _PromptEncoder:
    """Base of the encoders of prompts; subclasses define `tokens` and `states`."""

    rank = 0

    def prepare(self, values: Sequence[Any]) -> Any:
        """Returns the token ids of prompts, on the host.

        Raises:
            ValueError: a value is not a text, or is too long; the tokenizer is missing.
        """
        wrong = [value for value in values if not isinstance(value, str)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not a text")
        return self.tokens([str(value) for value in values])

    def encode(self, params: Params, inputs: Any) -> Condition:
        """Returns the states of tokens [b, n, d], their mask [b, n] and the vectors [b, p]."""
        return self.states(params["network"], inputs).condition()

    def empty(self, params: Params) -> Condition:
        """Returns the encoding of the empty prompt."""
        return self.encode(params, params["empty"])

    def shapes(self) -> Params:
        """Returns the shapes of the parameters and of the empty prompt's tokens."""
        return {"network": self.network_shapes(), "empty": self.inputs(1)}

    def load(self, target: Params) -> Params:
        """Returns the parameters, and the empty prompt's tokens.

        Raises:
            ValueError: files are missing, damaged or of another network.
        """
        put = lambda value, like: jax.device_put(value, getattr(like, "sharding", None))
        empty = jax.tree.map(put, self.prepare([""]), target["empty"])
        return {"network": self.read(target["network"]), "empty": empty}


@dataclass(frozen=True)
class TextEncoder(_PromptEncoder):
    """One text encoder, from settings and files.

    Attributes:
        settings: of `jaxdiff.networks.text`: "minilm_l6", "clip_vit_l_14", "t5_v1_1_xxl", or an
            object, "CLIPTextSettings(clip_skip=1, final_norm=False)".
        weights: a folder with *.safetensors, or a name on the hub; read by `load` only.
        tokenizer: the tokenizer's folder; by default that of the weights, or the one beside it.
        pad: the padding token; by default as its files say.
        words: words of one's own, and the number of tokens of each, the last of the vocabulary.
        window: the number of tokens; by default the network's maximum length (512 for T5).
        attend_padding: see `prompts.TextPipeline`; by default as in the training of the weights.
        too_long: "truncate" or "error", for prompts longer than the window.
        dtype: of the arithmetic. `param_dtype`: of the parameters.

    Raises:
        ValueError: a setting is unknown or out of range.
    """

    settings: Annotated[Any, networks]
    weights: str = ""
    tokenizer: str = ""
    pad: str = ""
    words: Sequence[tuple[str, Width]] = ()
    window: Width | None = None
    attend_padding: bool | None = None
    too_long: Literal["truncate", "error"] = "truncate"
    dtype: FloatType = "float32"
    param_dtype: FloatType = "float32"

    def __post_init__(self):
        if type(self.settings) not in loading.OF_SETTINGS:
            known = ", ".join(kind.__name__ for kind in loading.OF_SETTINGS)
            raise ValueError(f"settings={self.settings!r} are not those of a text encoder: {known}")
        _ = self.pipeline  # checks the window

    @property
    def pipeline(self) -> TextPipeline:
        """Returns the network with its options, without the tokenizer."""
        return self._pipeline(None)

    def inputs(self, batch: int) -> TokenIds:
        """Returns the shapes of the tokens of a batch of this size."""
        shape = (batch, 1, self.pipeline.window)
        return TokenIds(*(jax.ShapeDtypeStruct(shape, kind) for kind in (jnp.int32, jnp.bool_)))

    def tokens(self, prompts: Sequence[str]) -> TokenIds:
        """Returns the tokens of prompts; the first call reads the tokenizer."""
        tokenizer = _read_tokenizer(self._tokenizer_folder(), self._family.tokenizer, self.pad)
        if self.words:
            first = self.settings.vocabulary - sum(count for _, count in self.words)
            tokenizer = tokens.with_words(tokenizer, self.words, first)
        return self._pipeline(tokenizer).tokenize(prompts)

    def states(self, params: Params, inputs: TokenIds) -> Encoded:
        """Returns the network's states of tokens."""
        return self.pipeline.encode(params, inputs)

    def network_shapes(self) -> Params:
        """Returns the shapes of the network's parameters."""
        return loading.text_shapes(self.settings, jnp.dtype(self.param_dtype))

    def read(self, target: Params) -> Params:
        """Returns the network's parameters."""
        return loading.load_text_weights(self.weights, self.settings, target)

    def fingerprint(self) -> str:
        """Returns hashes of the weights and of the tokenizer's files."""
        words = tokens.fingerprint(self._tokenizer_folder())
        return f"{fingerprint(resolve(self.weights))}-{words}"

    @property
    def _family(self):
        return loading.OF_SETTINGS[type(self.settings)]

    def _tokenizer_folder(self) -> Path:
        if not (self.tokenizer or self.weights):
            raise ValueError("no tokenizer: give the folder of weights, or that of the tokenizer")
        return resolve(self.tokenizer) if self.tokenizer else find_tokenizer(self.weights)

    def _pipeline(self, tokenizer: Tokenizer | None) -> TextPipeline:
        family, attend_padding = self._family, self.attend_padding
        return TextPipeline(
            network=family.network(self.settings, jnp.dtype(self.dtype)),
            tokenizer=tokenizer,
            window=self.window or getattr(self.settings, "positions", T5_WINDOW),
            attend_padding=family.attend_padding if attend_padding is None else attend_padding,
            too_long=self.too_long,
        )


class _MultiEncoder(_PromptEncoder):
    """Several encoders of the same prompts; subclasses name them as fields and define `join`."""

    def each(self) -> dict[str, "TextEncoder | ZeroTokens"]:
        """Returns the encoders by name."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {n: part for n, part in parts.items() if isinstance(part, TextEncoder | ZeroTokens)}

    def inputs(self, batch: int) -> dict[str, TokenIds]:
        """Returns the shapes of each encoder's tokens for a batch of this size."""
        return {name: part.inputs(batch) for name, part in self.each().items()}

    def tokens(self, prompts: Sequence[str]) -> dict[str, TokenIds]:
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

    def fingerprint(self) -> str:
        """Returns a name."""
        return "zeros"


@dataclass(frozen=True)
class SDXL(_MultiEncoder):
    """The two encoders of SDXL, their features concatenated (Podell et al., 2023).

    Their settings have `clip_skip=1, final_norm=False`, as "openclip_bigg_14" has. With
    `zero_null`, zeros stand in place of the encoding of the empty prompt, as for SDXL's base model.
    """

    clip_l: TextEncoder
    bigg: TextEncoder
    zero_null: bool = False
    join = staticmethod(prompts.sdxl)

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


_read_tokenizer = functools.lru_cache(maxsize=8)(tokens.read_tokenizer)
