"""What was trained elsewhere, put on a run: adapters by a strength, and words of files."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxdiff import config as configs
from jaxdiff.conditioning.encoders import OwnWords, TextEncoder, Words
from jaxdiff.conditioning.text_encoder import PromptEncoder
from jaxdiff.config.build import build
from jaxdiff.files import AnyPath
from jaxdiff.pipelines.embeddings import with_word
from jaxdiff.typing import Params, Scalar
from jaxdiff.weights import adapters
from jaxdiff.weights.sources import OfRun


def adapted(weights: Mapping[str, Params], strengths: Mapping[str, Scalar]) -> dict[str, Params]:
    """Returns weights with the adapters of other runs, each change times its strength.

    Args:
        weights: by name, as the adapters found them when they were trained.
        strengths: by the run's folder: 1 is the change as trained, 0 none, -1 its opposite.

    Raises:
        FileNotFoundError: a folder holds no run.
        ValueError: a run has no adapter or no checkpoint yet, or its factors are of other weights.
    """
    changed = dict(weights)
    for path, strength in strengths.items():
        for name, adapter in adapters_of_run(path).items():
            if adapter.of not in changed:
                raise ValueError(
                    f"{path}: its adapter {name!r} is of {adapter.of!r}; this run has"
                    f" {', '.join(changed)}"
                )
            base = changed[adapter.of]
            factors = _factors(path, name, adapter, base)
            move = lambda b, a: b + jnp.asarray(strength, b.dtype) * (a - b)
            changed[adapter.of] = jax.tree.map(move, base, adapter.apply(base, factors))
    return changed


def adapters_of_run(path: str | AnyPath) -> dict[str, adapters.Adapter]:
    """Returns the adapters of a run by name.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: it has none.
    """
    config: Any = configs.read_config(path)
    found = {name: build(adapters, spec) for name, spec in config.adapters.items()}
    if not found:
        raise ValueError(f"{path}: this run has no adapter; config.adapters is empty")
    return found


def with_word_of(
    config: Any,
    text: Any,
    params: Params,
    source: str | os.PathLike,
    word: str | None,
) -> tuple[Any, Params]:
    """Returns the config of a run with a word of a file, and the weights of its encoder "text".

    Raises:
        ValueError: the run reads no text; see `pipelines.embeddings.with_word`.
    """
    if not isinstance(text, Words | PromptEncoder):
        raise ValueError("there is no encoder of 'text' that could read words")
    new, params = with_word(text, params, source, word)
    changed: Any = ConfigDict(configs.as_dict(config))
    spec = changed.encoders.text
    with changed.unlocked():
        if isinstance(new, OwnWords):
            spec.update(name="OwnWords", words=new.words)
        elif isinstance(new, TextEncoder):
            spec.words = new.words
        else:
            for name, part in new.each().items():
                if isinstance(part, TextEncoder):
                    spec[name].words = part.words
    return changed, params


def _factors(path: str | AnyPath, name: str, adapter: adapters.Adapter, base: Params) -> Params:
    shape = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    try:
        first = jax.eval_shape(adapter.init, jax.random.key(0), jax.tree.map(shape, base))
        return OfRun(str(path), name=name).load(first)
    except ValueError as error:
        raise ValueError(f"{path}: adapter {name!r}: {error}") from error
