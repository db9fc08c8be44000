"""A text encoder: settings, files, and the way from prompts to a condition."""

import functools
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from jaxdiff.conditioning import loading, tokens
from jaxdiff.conditioning.emphasis import WeightedIds, emphasized, tokenized, without_weights
from jaxdiff.conditioning.loading import T5_WINDOW, find_tokenizer
from jaxdiff.conditioning.prompts import Encoded, TextPipeline, encode_once
from jaxdiff.conditioning.spans import Spans
from jaxdiff.conditioning.tokens import TokenIds, Tokenizer
from jaxdiff.conditioning.words import check_different
from jaxdiff.networks import text as networks
from jaxdiff.options import FloatType, Width
from jaxdiff.pretrained import fingerprint, resolve
from jaxdiff.typing import Condition, Params


class PromptEncoder:
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
        network = with_vectors(params["network"], params.get("own"))
        return self.states(network, inputs).condition()

    def empty(self, params: Params) -> Condition:
        """Returns the encoding of the empty prompt."""
        return self.encode(params, params["empty"])

    def shapes(self) -> Params:
        """Returns the shapes of the parameters and of the empty prompt's tokens."""
        own = self.own_shapes()
        found = {"network": self.network_shapes(), "empty": self.inputs(1)}
        return {**found, **({} if own is None else {"own": own})}

    def load(self, target: Params) -> Params:
        """Returns the parameters, and the empty prompt's tokens.

        Raises:
            ValueError: files are missing, damaged or of another network.
        """
        put = lambda value, like: jax.device_put(value, getattr(like, "sharding", None))
        empty = jax.tree.map(put, self.prepare([""]), target["empty"])
        network, own = self.read(target["network"]), {}
        if "own" in target:
            own = {"own": jax.tree.map(put, self.own_vectors(network), target["own"])}
        return {"network": network, "empty": empty, **own}


def with_vectors(network: Params, own: Params) -> Params:
    """Returns a network's parameters, or several's, with vectors behind the vocabulary.

    `own` is [n, width], of several encoders by name; None for none.
    """
    if own is None:
        return network
    if isinstance(own, Mapping):
        return {**network, **{name: with_vectors(network[name], own[name]) for name in own}}
    table = network["words"]["embedding"]
    table = jnp.concatenate([table, jnp.asarray(own, table.dtype)])
    return {**network, "words": {**network["words"], "embedding": table}}


@dataclass(frozen=True)
class TextEncoder(PromptEncoder):
    """One text encoder, from settings and files.

    Attributes:
        settings: of `jaxdiff.networks.text`: "minilm_l6", "clip_vit_l_14", "t5_v1_1_xxl", or an
            object, "CLIPTextSettings(clip_skip=1, final_norm=False)".
        weights: a folder with *.safetensors, or a name on the hub; read by `load` only.
        tokenizer: the tokenizer's folder; by default the folder of the weights, or its neighbour.
        pad: the padding token; by default as its files say.
        words: words of one's own, and the number of tokens of each, which follow the vocabulary.
            Their vectors are the weights "own"; before training those of the text `begin`, or
            without it the mean of all.
        window: the number of tokens; by default the network's maximum length (512 for T5).
        attend_padding: see `prompts.TextPipeline`; by default as in the training of the weights.
        too_long: "truncate" or "error", for prompts longer than the window.
        windows: number of windows of each prompt, whose states are joined; with several, a prompt
            that needs more is an error, and those that it does not fill are of empty text.
        cleaning: "lowercase" makes capitals small and leaves out spaces at the ends; "spaces" reads
            HTML's characters, and makes one space of several.
        zero_padding: whether the states of the padding are zeros that a network attends to.
        emphasis: whether prompts have weights and breaks, as `conditioning.emphasis` reads them.
        dtype: of the arithmetic. `param_dtype`: of the parameters.

    Raises:
        ValueError: a setting is unknown or out of range.
    """

    settings: Annotated[Any, networks]
    weights: str = ""
    tokenizer: str = ""
    pad: str = ""
    words: Sequence[tuple[str, Width]] = ()
    begin: str = ""
    window: Width | None = None
    attend_padding: bool | None = None
    too_long: Literal["truncate", "error"] = "truncate"
    windows: Width = 1
    cleaning: Literal["none", "lowercase", "spaces"] = "none"
    zero_padding: bool = False
    emphasis: bool = False
    dtype: FloatType = "float32"
    param_dtype: FloatType = "float32"

    def __post_init__(self):
        if type(self.settings) not in loading.OF_SETTINGS:
            known = ", ".join(kind.__name__ for kind in loading.OF_SETTINGS)
            raise ValueError(f"settings={self.settings!r} are not those of a text encoder: {known}")
        check_different([word for word, _ in self.words])
        _ = self.pipeline  # checks the window

    @property
    def pipeline(self) -> TextPipeline:
        """Returns the network with its options, without the tokenizer."""
        return self._pipeline(None)

    def inputs(self, batch: int) -> TokenIds | WeightedIds:
        """Returns the shapes of the tokens of a batch of this size."""
        shape = (batch, self.windows, self.pipeline.window)
        of = lambda kind: jax.ShapeDtypeStruct(shape, kind)
        if self._is_plain:
            return TokenIds(of(jnp.int32), of(jnp.bool_))
        return WeightedIds(of(jnp.int32), of(jnp.bool_), of(jnp.float32))

    def tokens(self, prompts: Sequence[str]) -> TokenIds | WeightedIds:
        """Returns the tokens of prompts; the first call reads the tokenizer."""
        prompts = [CLEANED[self.cleaning](prompt) for prompt in prompts]
        tokenizer = self._reader()
        if self._is_plain:
            return self._pipeline(tokenizer).tokenize(prompts)
        sizes = self.pipeline.window, self.windows
        cut = self.windows == 1 and self.too_long == "truncate"
        return tokenized(tokenizer, prompts, *sizes, emphasis=self.emphasis, cut=cut)

    def spans(self, prompt: str) -> Spans:
        """Returns the places of the tokens of each word.

        Raises:
            ValueError: the prompt is longer than the window, or its tokens are not those of its
                words; prompts have weights, or several windows.
        """
        if not self._is_plain:
            raise ValueError("words of prompts with weights or of several windows have no places")
        prompt = CLEANED[self.cleaning](prompt)
        tokenizer, words = self._reader(), prompt.split()
        each, (whole,) = tokenizer.encode(words), tokenizer.encode([prompt])
        if [n for ids in each for n in ids] != whole:
            raise ValueError(f"the tokens of {prompt!r} are not those of its words")
        place, window = int(tokenizer.bos is not None), self.pipeline.window
        if place + len(whole) + 1 > window:
            raise ValueError(f"{prompt!r} has {len(whole)} tokens, more than window={window} holds")
        found = []
        for word, ids in zip(words, each, strict=True):
            found.append((word, range(place, place + len(ids))))
            place += len(ids)
        return Spans(found, window)

    def states(self, params: Params, inputs: TokenIds | WeightedIds) -> Encoded:
        """Returns the network's states of tokens, times their weights."""
        plain = inputs if isinstance(inputs, TokenIds) else without_weights(inputs)
        encoded = encode_once(self.pipeline, params, plain)
        if not isinstance(inputs, TokenIds):
            encoded = encoded._replace(tokens=emphasized(encoded.tokens, inputs.weights))
        if not self.zero_padding:
            return encoded
        zeroed = jnp.where(encoded.mask[..., None], encoded.tokens, 0)
        return encoded._replace(tokens=zeroed, mask=jnp.ones_like(encoded.mask))

    def network_shapes(self) -> Params:
        """Returns the shapes of the network's parameters."""
        return loading.text_shapes(self.settings, jnp.dtype(self.param_dtype))

    def read(self, target: Params) -> Params:
        """Returns the network's parameters."""
        return loading.load_text_weights(self.weights, self.settings, target)

    def own_shapes(self) -> Any:
        """Returns the shape of the vectors of one's own words [n, width]; None without words."""
        if not self.words:
            return None
        shape = self._own, self.network_shapes()["words"]["embedding"].shape[1]
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def own_vectors(self, network: Params) -> Any:
        """Returns the first vectors of one's own words.

        Raises:
            ValueError: a word is one of the tokenizer already.
        """
        if not self.words:
            return None
        tokenizer = self._tokenizer()
        for word, _ in self.words:
            if len(tokenizer.encode([word])[0]) == 1:
                raise ValueError(
                    f"words: {word!r} is a word of the tokenizer already; choose another one"
                )
        table = network["words"]["embedding"].astype(jnp.float32)
        (ids,) = tokenizer.encode([self.begin])
        if not ids:
            return jnp.broadcast_to(table.mean(0), (self._own, table.shape[1]))
        each = [ids[i * len(ids) // n] for _, n in self.words for i in range(n)]
        return table[jnp.array(each)]

    def fingerprint(self) -> str:
        """Returns hashes of the weights and of the tokenizer's files."""
        words = tokens.fingerprint(self._tokenizer_folder())
        return f"{fingerprint(resolve(self.weights))}-{words}"

    @property
    def _own(self) -> int:
        return sum(count for _, count in self.words)

    @property
    def _is_plain(self):
        return self.windows == 1 and not self.emphasis

    @property
    def _family(self):
        return loading.OF_SETTINGS[type(self.settings)]

    def _reader(self) -> Tokenizer:
        if not self.words:
            return self._tokenizer()
        return tokens.with_words(self._tokenizer(), self.words, self.settings.vocabulary)

    def _tokenizer(self) -> Tokenizer:
        return _read_tokenizer(self._tokenizer_folder(), self._family.tokenizer, self.pad)

    def _tokenizer_folder(self) -> Path:
        if not (self.tokenizer or self.weights):
            raise ValueError("no tokenizer: give the folder of weights, or that of the tokenizer")
        return resolve(self.tokenizer) if self.tokenizer else find_tokenizer(self.weights)

    def _pipeline(self, tokenizer: Tokenizer | None) -> TextPipeline:
        family, attend_padding = self._family, self.attend_padding
        settings = replace(self.settings, vocabulary=self.settings.vocabulary + self._own)
        return TextPipeline(
            network=family.network(settings, jnp.dtype(self.dtype)),
            tokenizer=tokenizer,
            window=self.window or getattr(self.settings, "positions", T5_WINDOW),
            attend_padding=family.attend_padding if attend_padding is None else attend_padding,
            too_long=self.too_long,
        )


CLEANED: Mapping[str, Callable[[str], str]] = {
    "none": lambda prompt: prompt,
    "lowercase": lambda prompt: prompt.lower().strip(),
    "spaces": lambda prompt: " ".join(html.unescape(html.unescape(prompt)).split()),
}
"""What is made of a prompt before it is read."""

_read_tokenizer = functools.lru_cache(maxsize=8)(tokens.read_tokenizer)
