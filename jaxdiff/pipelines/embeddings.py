"""Files of textual inversion: words of one's own for the prompts of a model (Gal et al. 2023).

Files hold the vectors [n, width], or one [width], under the word itself (diffusers), under
"emb_params" (other tools), or for SDXL under "clip_l" and "clip_g"; there the file's name is the
word.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.conditioning.encoders import OwnWords, TextEncoder, Words
from jaxdiff.pretrained import open_tensors, resolve
from jaxdiff.pretrained.files import write_tensors
from jaxdiff.typing import Params

OF_SEVERAL = {"clip_l": "clip_l", "clip_g": "bigg"}
WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 1280: "SDXL's second encoder"}


def with_word(
    text: Any, params: Any, source: str | os.PathLike, word: str | None
) -> tuple[Any, Params]:
    """Returns a text encoder and its parameters with a word of a file; `Words` have None at first.

    Raises:
        ValueError: the file holds no vectors, or of another width; the word is there already.
    """
    file = resolve(source)
    vectors, own = _vectors(open_tensors(file), repr(str(file)))
    word = word or own or file.stem
    if isinstance(text, Words):
        return _with_own_word(text, params, _of_one(vectors, file), word, str(file))
    if isinstance(text, TextEncoder):
        width = params["network"]["words"]["embedding"].shape[1]
        table = params.get("own"), width, _of_one(vectors, file)
        text, new = _with_vectors(text, *table, word, str(file))
        return text, {**params, "own": new}
    if "" in vectors:
        raise ValueError(f"{str(file)!r} has no clip_l and clip_g: it is of a model of one encoder")
    parts, new = {}, dict(params.get("own", {}))
    of_model = text.each()
    for key, value in vectors.items():
        if (name := OF_SEVERAL[key]) not in of_model:
            continue  # SDXL's refiner has no clip_l
        width = params["network"][name]["words"]["embedding"].shape[1]
        table = new.get(name), width, value
        parts[name], new[name] = _with_vectors(of_model[name], *table, word, str(file))
    return replace(text, **parts), {**params, "own": new}


def save_word(text: Any, params: Params, path: str | os.PathLike, word: str | None = None) -> None:
    """Writes the vectors of a word that was trained, for `with_word` and for public tools.

    Those of one encoder are under "emb_params", those of SDXL under "clip_l" and "clip_g"; for
    other tools, the file's name is the word.

    Args:
        text: the encoder, `run.experiment.task.conditions.encoders["text"]` of a run.
        params: its weights, `run.weights["text"]`.
        path: a .safetensors file.
        word: which one; it may be left out where there is only one.

    Raises:
        ValueError: there is no such word; an encoder has no name in public files.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{str(path)!r}: the file name must end in .safetensors")
    if isinstance(text, OwnWords | TextEncoder):
        return write_tensors({"emb_params": _found(text, params.get("own"), word)}, path)
    encoders = {key: text.each()[name] for key, name in OF_SEVERAL.items() if name in text.each()}
    if other := sorted(set(params.get("own", ())) - set(OF_SEVERAL.values())):
        raise ValueError(f"words of {other}: public files have those of clip_l and clip_g only")
    own = params.get("own", {})
    found = {key: _found(each, own.get(OF_SEVERAL[key]), word) for key, each in encoders.items()}
    write_tensors(found, path)


def _found(text: OwnWords | TextEncoder, own: Any, word: str | None) -> np.ndarray:
    counts = dict.fromkeys(text.words, 1) if isinstance(text, OwnWords) else dict(text.words)
    if word is None and len(counts) == 1:
        word = next(iter(counts))
    if own is None or word not in counts:
        raise ValueError(f"word={word!r}: the encoder has {', '.join(counts) or 'none'}")
    first = sum(list(counts.values())[: list(counts).index(word)])
    return np.asarray(own, np.float32)[first : first + counts[word]]


def _with_own_word(
    text: Words, params: Params | None, vectors: np.ndarray, word: str, file: str
) -> tuple[OwnWords, Params]:
    known, own = getattr(text, "words", ()), np.zeros((0, text.features), np.float32)
    _check(vectors, text.features, word, known, file)
    if len(vectors) > 1:
        raise ValueError(f"{file!r} has {len(vectors)} vectors; a word of `Words` has one")
    own = own if params is None else np.asarray(params["own"])
    new = OwnWords(text.features, text.window, (*known, word), getattr(text, "begin", ""))
    return new, {"own": np.concatenate([own, vectors])}


def _of_one(vectors: Mapping[str, np.ndarray], file: Path) -> np.ndarray:
    if set(vectors) != {""}:
        raise ValueError(f"{str(file)!r} has vectors {sorted(vectors)}: it is of SDXL")
    return vectors[""]


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
    encoder: TextEncoder, own: Any, width: int, vectors: np.ndarray, word: str, file: str
) -> tuple[TextEncoder, Any]:
    """Returns an encoder with a word, and the vectors of its words with those of the word."""
    _check(vectors, width, word, [known for known, _ in encoder.words], file)
    encoder = replace(encoder, words=(*encoder.words, (word, len(vectors))))
    return encoder, vectors if own is None else np.concatenate([np.asarray(own), vectors])


def _check(vectors: np.ndarray, width: int, word: str, known: Sequence[str], file: str) -> None:
    if vectors.shape[1] != width:
        of = WIDTHS.get(vectors.shape[1], "another model")
        raise ValueError(
            f"{file!r} has vectors of width {vectors.shape[1]}, of {of}; this encoder's have"
            f" {width}"
        )
    if word in known:
        raise ValueError(f"{file!r}: there is a word {word!r} already; give word=, another one")
