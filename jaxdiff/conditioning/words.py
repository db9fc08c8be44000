"""Words as random vectors, the same everywhere, without a vocabulary."""

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

from jaxdiff.options import Width
from jaxdiff.typing import Condition, Params


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
        words = ["", *re.findall(r"[^\W_]+", text.lower())][:window]
        mask[row, : len(words)] = True
        for place, word in enumerate(words):
            both = _vector(word, features) + _vector(f"place {place}", features)
            vectors[row, place] = both / np.float32(2**0.5)
    return vectors, mask


@functools.lru_cache(maxsize=65536)
def _vector(word: str, features: int) -> Float[np.ndarray, " d"]:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(features, np.float32)
