"""Words as random vectors, the same everywhere, without a vocabulary; and words of one's own."""

import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxdiff.conditioning.spans import Spans
from jaxdiff.options import Width
from jaxdiff.typing import Condition, Params

WORD = re.compile(r"[^\W_]+")
ROOT = np.float32(2**0.5)


@dataclass(frozen=True)
class Words:
    """Each word of a text as a fixed random vector: an encoder without weights and files.

    See `word_vectors`. What words mean is left to the network, which has to learn it: for
    captions of a few hundred different words.

    Attributes:
        features: the width of a vector; `window`, the most words.
    """

    features: Width = 128
    window: Width = 24

    rank = 0

    def prepare(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """Returns the vectors [b, n, d] of texts and their mask [b, n].

        Raises:
            ValueError: a value is not a text.
        """
        if wrong := [value for value in values if not isinstance(value, str)]:
            raise ValueError(f"{wrong[0]!r} is not a text")
        vectors, mask = word_vectors(values, self.window, self.features)
        return {"vectors": vectors, "mask": mask}

    def spans(self, prompt: str) -> Spans:
        """Returns the place of each word.

        Raises:
            ValueError: the prompt is longer than the window.
        """
        words = split(prompt)
        if len(words) > self.window:
            raise ValueError(
                f"{prompt!r} has {len(words) - 1} words; window={self.window} has 1 less"
            )
        return Spans([(word, [n]) for n, word in enumerate(words) if n], self.window)

    def inputs(self, batch: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the shapes of a batch of this size."""
        mask = jax.ShapeDtypeStruct((batch, self.window), jnp.bool_)
        vectors = jax.ShapeDtypeStruct((*mask.shape, self.features), jnp.float32)
        return {"vectors": vectors, "mask": mask}

    def encode(self, params: Params, inputs: Any) -> Condition:
        """Returns the vectors, their mask, and as pooled vector their mean."""
        kept = inputs["mask"][..., None]
        mean = jnp.where(kept, inputs["vectors"], 0).sum(1) / kept.sum(1)
        return Condition(inputs["vectors"], mask=inputs["mask"], pooled=mean)

    def empty(self, params: Params) -> Condition:
        """Returns the encoding of the empty text."""
        return self.encode(params, jax.tree.map(jnp.asarray, self.prepare([""])))


@dataclass(frozen=True)
class OwnWords(Words):
    """`Words` with words of one's own, whose vectors are weights, "own": for textual inversion.

    Attributes:
        words: of letters and digits, in small letters.
        begin: the word as whose vector those of one's own begin; by default each as its own in
            `Words`.

    Raises:
        ValueError: a word is none as `Words` reads them, or is there twice.
    """

    words: Sequence[str] = ()
    begin: str = ""

    def __post_init__(self):
        check_different(self.words)
        for word in self.words:
            if WORD.fullmatch(word) is None or word != word.lower():
                raise ValueError(f"words: {word!r} must be of small letters and digits")

    def prepare(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """Returns vectors and mask as `Words`, and the number of each word of one's own, or 0.

        Raises:
            ValueError: a value is not a text.
        """
        found = super().prepare(values)
        own = np.zeros(found["mask"].shape, np.int32)
        numbers = {word: i for i, word in enumerate(self.words, 1)}
        for row, text in enumerate(values):
            each = [numbers.get(word, 0) for word in split(text)][: self.window]
            own[row, : len(each)] = each
            for place in np.flatnonzero(own[row]).tolist():
                found["vectors"][row, place] = _of_place(place, self.features) / ROOT
        return {**found, "own": own}

    def inputs(self, batch: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns the shapes of a batch of this size."""
        own = jax.ShapeDtypeStruct((batch, self.window), jnp.int32)
        return {**super().inputs(batch), "own": own}

    def encode(self, params: Params, inputs: Any) -> Condition:
        """Returns what `Words` returns, the words of one's own read from the weights."""
        table = jnp.pad(jnp.asarray(params["own"]), ((1, 0), (0, 0)))
        vectors = inputs["vectors"] + table[inputs["own"]] / ROOT
        return super().encode(params, {**inputs, "vectors": vectors})

    def shapes(self) -> Params:
        """Returns the shape of the vectors [n, features]."""
        return {"own": jax.ShapeDtypeStruct((len(self.words), self.features), jnp.float32)}

    def load(self, target: Params) -> Params:
        """Returns the vectors as they are before training."""
        first = np.stack([_vector(self.begin.lower() or w, self.features) for w in self.words])
        return {"own": jax.device_put(first, getattr(target["own"], "sharding", None))}

    def fingerprint(self) -> str:
        """Returns the words."""
        return " ".join(self.words)


def check_different(words: Sequence[str]) -> None:
    """Raises ValueError if a word is there twice; says which."""
    if twice := [word for i, word in enumerate(words) if word in words[:i]]:
        raise ValueError(f"words: there is a word {twice[0]!r} already; choose another one")


def split(text: str) -> list[str]:
    """Returns the words of a text in small letters, behind "", the token in front of every text."""
    return ["", *WORD.findall(text.lower())]


def word_vectors(
    texts: Sequence[str], window: int, features: int
) -> tuple[Float[np.ndarray, "b n d"], Bool[np.ndarray, "b n"]]:
    """Returns a vector of variance 1 for each word of each text, and which there are.

    A word's vector is standard normal, of a hash of its letters; another one for its place is
    added. Words are letters and digits between anything else; capitals do not count. In front
    stands a token that is all of an empty text. Words beyond the window are cut off.
    """
    vectors = np.zeros((len(texts), window, features), np.float32)
    mask = np.zeros(vectors.shape[:2], bool)
    for row, text in enumerate(texts):
        words = split(text)[:window]
        mask[row, : len(words)] = True
        for place, word in enumerate(words):
            vectors[row, place] = (_vector(word, features) + _of_place(place, features)) / ROOT
    return vectors, mask


def _of_place(place: int, features: int) -> Float[np.ndarray, " d"]:
    return _vector(f"place {place}", features)


@functools.lru_cache(maxsize=65536)
def _vector(word: str, features: int) -> Float[np.ndarray, " d"]:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(features, np.float32)
