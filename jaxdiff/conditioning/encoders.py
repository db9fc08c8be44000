"""Encoders of conditions, as `config.encoders` names them: a table from condition to encoder.

    config.encoders = {"text": {"name": "Text", "settings": "minilm_l6", "weights": "path/to/it"}}

An encoder takes what the data have under the condition's name, such as captions, in two steps: on
the host, into arrays of a fixed size; and in the training step, with frozen weights, into `cond`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.conditioning import loading, tokens
from jaxdiff.conditioning import prompts as encoders
from jaxdiff.conditioning.loading import T5_WINDOW, find_tokenizer
from jaxdiff.conditioning.prompts import Encoded, TextEncoder
from jaxdiff.conditioning.tokens import Tokenizer, Tokens
from jaxdiff.config.build import build
from jaxdiff.networks import text as family
from jaxdiff.pretrained import fingerprint, resolve
from jaxdiff.typing import Condition, Params


class Prompts:
    """What encoders of texts have in common; `tokens` and `states` are theirs."""

    rank = 0

    def prepare(self, values: Sequence[Any]) -> Any:
        """Returns the ids of prompts, on the host.

        Raises:
            ValueError: one is no text, or too long where that is an error; there is no tokenizer.
        """
        others = [value for value in values if not isinstance(value, str)]
        if others:
            raise ValueError(f"{others[0]!r} is not a text")
        return self.tokens([str(value) for value in values])

    def encode(self, params: Params, inputs: Any, name: str) -> Condition:
        """Returns the fields "<name>" [b, n, d], "<name>_mask" [b, n], "<name>_pooled" [b, p]."""
        return self.states(params["network"], inputs).condition(name)

    def empty(self, params: Params, name: str) -> Condition:
        """Returns the same of the empty prompt."""
        return self.encode(params, params["empty"], name)

    def shapes(self) -> Params:
        """Returns the shapes of the parameters, and of the empty prompt's tokens beside them."""
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
class Text(Prompts):
    """One encoder of prompts.

    Attributes:
        settings: of `jaxdiff.networks.text`: "minilm_l6", "clip_vit_l_14", "t5_v1_1_xxl", or
            written out, "CLIPTextSettings(clip_skip=1, final_norm=False)".
        weights: a folder with *.safetensors, or a name on the hub; read by `load` only.
        tokenizer: its folder, where it is not in the weights' or beside it.
        window: the number of tokens; None for as many as the network has positions, and of T5, 512.
        attend_padding: see `TextEncoder`; None for what the weights were trained with.
        too_long: "truncate", or "error".
        dtype: of the arithmetic; `param_dtype`, of the parameters.

    Raises:
        ValueError: a setting is unknown or out of range.
    """

    settings: Any
    weights: str = ""
    tokenizer: str = ""
    window: int | None = None
    attend_padding: bool | None = None
    too_long: str = "truncate"
    dtype: Any = "float32"
    param_dtype: Any = "float32"

    def __post_init__(self):
        spec = self.settings
        if isinstance(spec, str):
            spec = build(family, spec if "(" in spec else f"{spec}()")
        if type(spec) not in loading.OF_SETTINGS:
            known = ", ".join(kind.__name__ for kind in loading.OF_SETTINGS)
            raise ValueError(f"settings={self.settings!r}: an encoder of text has {known}")
        if self.too_long == "chunk":
            raise ValueError(
                "too_long='chunk': how many windows there are would differ from batch to batch;"
                " 'truncate' or 'error', and a larger window where the network has one"
            )
        object.__setattr__(self, "settings", spec)
        _ = self.encoder  # checks the window

    @property
    def encoder(self) -> TextEncoder:
        """Returns the network with its options, without the tokenizer."""
        return self._encoder(None)

    def inputs(self, batch: int) -> Tokens:
        """Returns the shapes of so many prompts' tokens."""
        shape = (batch, 1, self.encoder.window)
        return Tokens(*(jax.ShapeDtypeStruct(shape, kind) for kind in (jnp.int32, jnp.bool_)))

    def tokens(self, prompts: Sequence[str]) -> Tokens:
        """Returns the tokens of prompts, the tokenizer read at the first use."""
        tokenizer = _read_tokenizer(self._tokenizer_folder(), self._family.tokenizer)
        return self._encoder(tokenizer).tokenize(prompts)

    def states(self, params: Params, inputs: Tokens) -> Encoded:
        """Returns what the network makes of tokens."""
        return self.encoder.encode(params, inputs)

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
            raise ValueError("no tokenizer: neither weights nor tokenizer says where it is")
        return resolve(self.tokenizer) if self.tokenizer else find_tokenizer(self.weights)

    def _encoder(self, tokenizer: Tokenizer | None) -> TextEncoder:
        of, attend_padding = self._family, self.attend_padding
        return TextEncoder(
            network=of.network(self.settings, jnp.dtype(self.dtype)),
            tokenizer=tokenizer,
            window=self.window or getattr(self.settings, "positions", T5_WINDOW),
            attend_padding=of.attend_padding if attend_padding is None else attend_padding,
            too_long=self.too_long,
        )


class Several(Prompts):
    """Encoders of the same prompts, by name: fields of the class that says how they are joined."""

    def each(self) -> dict[str, Text]:
        """Returns the encoders by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def inputs(self, batch: int) -> dict[str, Tokens]:
        """Returns the shapes of so many prompts' tokens, of each encoder."""
        return {name: part.inputs(batch) for name, part in self.each().items()}

    def tokens(self, prompts: Sequence[str]) -> dict[str, Tokens]:
        """Returns each encoder's tokens."""
        return {name: part.tokens(prompts) for name, part in self.each().items()}

    def states(self, params: Params, inputs: Any) -> Encoded:
        """Returns what the networks make of tokens, joined."""
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
class SDXL(Several):
    """The two encoders of SDXL, side by side (Podell et al., 2023).

    Their settings have `clip_skip=1, final_norm=False`, as "openclip_bigg_14" has.
    """

    clip_l: Text
    bigg: Text
    join = staticmethod(encoders.sdxl)


@dataclass(frozen=True)
class SD3(Several):
    """The three encoders of Stable Diffusion 3 (Esser et al., 2024)."""

    clip_l: Text
    bigg: Text
    t5: Text
    join = staticmethod(encoders.sd3)


@dataclass(frozen=True)
class Numbers:
    """Numbers as they are, such as the sizes that SDXL is told; `default` where none are given."""

    default: Sequence[float | int]

    rank = 1

    def prepare(self, values: Sequence[Any]) -> np.ndarray:
        """Returns the numbers [b, count].

        Raises:
            ValueError: there are not as many in each row.
        """
        rows = np.asarray(values, np.float32)
        if rows.ndim != 2 or rows.shape[1] != len(self.default):
            raise ValueError(f"numbers of shape {rows.shape}; expected [b, {len(self.default)}]")
        return rows

    def inputs(self, batch: int) -> jax.ShapeDtypeStruct:
        """Returns the shape of so many rows."""
        return jax.ShapeDtypeStruct((batch, len(self.default)), jnp.float32)

    def encode(self, params: Params, inputs: Any, name: str) -> Condition:
        """Returns the numbers."""
        return Condition({name: inputs})

    def empty(self, params: Params, name: str) -> Condition:
        """Returns the default."""
        return Condition({name: jnp.asarray([self.default], jnp.float32)})


_read_tokenizer = functools.lru_cache(maxsize=8)(tokens.read_tokenizer)
