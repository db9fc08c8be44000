"""Textual inversion: words of one's own, their vectors behind the vocabulary (Gal et al. 2023).

Files hold the vectors [n, width], or one [width], under the word itself (diffusers), under
"emb_params" (other tools), or for SDXL under "clip_l" and "clip_g"; there the file's name is the
word.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdiff.conditioning.encoders import TextEncoder
from jaxdiff.pretrained import open_tensors, resolve
from jaxdiff.typing import Params

OF_SEVERAL = {"clip_l": "clip_l", "clip_g": "bigg"}
WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 1280: "SDXL's second encoder"}


def with_word(
    text: Any, params: Params, source: str | os.PathLike, word: str | None
) -> tuple[Any, Params]:
    """Returns a text encoder and its parameters with a word of a file.

    Raises:
        ValueError: the file holds no vectors, or of another width; the word is there already.
    """
    file = resolve(source)
    vectors, own = _vectors(open_tensors(file), repr(str(file)))
    word = word or own or file.stem
    if isinstance(text, TextEncoder):
        if set(vectors) != {""}:
            raise ValueError(f"{str(file)!r} has vectors {sorted(vectors)}: it is of SDXL")
        text, inner = _with_vectors(text, params["network"], vectors[""], word, str(file))
        return text, {**params, "network": inner}
    if "" in vectors:
        raise ValueError(f"{str(file)!r} has no clip_l and clip_g: it is of a model of one encoder")
    parts, inner = {}, dict(params["network"])
    of_model = text.each()
    for key, value in vectors.items():
        if (name := OF_SEVERAL[key]) not in of_model:
            continue  # SDXL's refiner has no clip_l
        encoder = of_model[name]
        parts[name], inner[name] = _with_vectors(encoder, inner[name], value, word, str(file))
    return replace(text, **parts), {**params, "network": inner}


def _vectors(tensors: Mapping[str, Any], name: str) -> tuple[dict[str, np.ndarray], str | None]:
    """Returns the vectors by the encoder, "" for the only one, and the word where it is there."""
    read = lambda key: np.atleast_2d(np.asarray(tensors[key], np.float32))
    if set(tensors) == set(OF_SEVERAL):
        return {key: read(key) for key in OF_SEVERAL}, None
    if len(tensors) != 1 or np.ndim(next(iter(tensors.values()))) > 2:
        raise ValueError(
            f"{name} has keys {sorted(tensors)[:4]}: textual inversion has one (the word, or"
            " emb_params), or clip_l and clip_g"
        )
    key = next(iter(tensors))
    return {"": read(key)}, None if key == "emb_params" else key


def _with_vectors(
    encoder: TextEncoder, params: Params, vectors: np.ndarray, word: str, file: str
) -> tuple[TextEncoder, Params]:
    table = params["words"]["embedding"]
    if vectors.shape[1] != table.shape[1]:
        of = WIDTHS.get(vectors.shape[1], "another model")
        raise ValueError(
            f"{file!r} has vectors of width {vectors.shape[1]}, of {of}; this encoder's have"
            f" {table.shape[1]}"
        )
    if word in dict(encoder.words):
        raise ValueError(f"{file!r}: there is a word {word!r} already; give word=, another one")
    settings = replace(encoder.settings, vocabulary=len(table) + len(vectors))
    table = jnp.concatenate([table, jnp.asarray(vectors, table.dtype)])
    encoder = replace(encoder, settings=settings, words=(*encoder.words, (word, len(vectors))))
    return encoder, {**params, "words": {**params["words"], "embedding": table}}
