"""Loads text and image encoders from folders of public checkpoints."""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdiff.conditioning.prompts import TextPipeline
from jaxdiff.conditioning.tokens import read_tokenizer
from jaxdiff.config.build import describe_difference, suggest
from jaxdiff.files import read_json
from jaxdiff.networks.text import bert, clip, t5
from jaxdiff.pretrained import find_weights, open_tensors, resolve, to_ours
from jaxdiff.pretrained.rules import Table
from jaxdiff.pretrained.tables import text as tables
from jaxdiff.typing import Params

T5_WINDOW = 512
"""The window of T5: the length of its training texts, as no table of positions limits it."""


class Family(NamedTuple):
    """One kind of encoder: its network, settings, rules for keys, and kind of tokenizer."""

    network: Callable[..., Any]
    settings: Callable[[Mapping[str, Any]], Any]
    table: Callable[[Mapping[str, Any]], Table]
    tokenizer: str | None
    attend_padding: bool = False


def _bert_table(tensors: Mapping[str, Any]) -> Table:
    return tables.bert("bert" if "bert.embeddings.word_embeddings.weight" in tensors else "")


def _clip_text_table(tensors: Mapping[str, Any]) -> Table:
    if "token_embedding.weight" in tensors:
        return tables.open_clip_text()
    bare = "embeddings.token_embedding.weight" in tensors
    return tables.clip_text("" if bare else "text_model")


def _clip_vision_table(tensors: Mapping[str, Any]) -> Table:
    if "visual.conv1.weight" in tensors:
        return tables.open_clip_vision()
    bare = "embeddings.patch_embedding.weight" in tensors
    return tables.clip_vision("" if bare else "vision_model")


def _t5_table(tensors: Mapping[str, Any]) -> Table:
    own = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight" in tensors
    words = "shared" if "shared.weight" in tensors else "encoder.embed_tokens"
    return tables.t5(words, own_distances=own)


BERT = Family(bert.BERT, bert.from_config, _bert_table, "bert")
CLIP_TEXT = Family(clip.CLIPText, clip.text_from_config, _clip_text_table, "clip", True)
CLIP_VISION = Family(clip.CLIPVision, clip.vision_from_config, _clip_vision_table, None)
T5 = Family(t5.T5Encoder, t5.from_config, _t5_table, "t5")

TEXT = {"bert": BERT, "clip_text_model": CLIP_TEXT, "clip": CLIP_TEXT, "t5": T5, "umt5": T5}
VISION = {"clip_vision_model": CLIP_VISION, "clip": CLIP_VISION}
"""Families by `model_type` in config.json."""

OF_SETTINGS = {bert.BERTSettings: BERT, clip.CLIPTextSettings: CLIP_TEXT, t5.T5Settings: T5}

OUTPUT = ("clip_skip", "final_norm", "pooling", "normalize")
"""Settings of a network's output: which layer, norm and pooling. No config.json has them."""


def load_text_encoder(
    source: str | os.PathLike,
    *,
    tokenizer: str | os.PathLike | None = None,
    window: int | None = None,
    attend_padding: bool | None = None,
    too_long: str = "error",
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
    **options: Any,
) -> tuple[TextPipeline, Params]:
    """Loads a text encoder with its tokenizer and its parameters from a folder.

    The folder has config.json, *.safetensors and the tokenizer. A tokenizer in a folder of its own
    is found next to the encoder's, as in diffusers' pipelines ("tokenizer_2" for "text_encoder_2"),
    or named by `tokenizer`. The files of sentence-transformers set pooling and window. `options`
    are fields of the settings, such as `clip_skip=1, final_norm=False`.

    Raises:
        ValueError: files are missing, damaged or of another network; an unknown encoder or option.
    """
    folder = resolve(source)
    settings, trained_window = _sentence_settings(folder, read_settings(folder))
    settings, family = _with_options(settings, options), OF_SETTINGS[type(settings)]
    network = family.network(settings, dtype)
    tokenizer_folder = resolve(tokenizer) if tokenizer else _tokenizer_folder(folder)
    if attend_padding is None:
        attend_padding = family.attend_padding
    window = window or trained_window or getattr(settings, "positions", T5_WINDOW)
    reader = read_tokenizer(tokenizer_folder, family.tokenizer)
    encoder = TextPipeline(network, reader, window, attend_padding, too_long)
    ids = jax.ShapeDtypeStruct((1, window), jnp.int32)
    mask = jax.ShapeDtypeStruct((1, window), bool)
    return encoder, _weights(family, network, folder, param_dtype, ids, mask)


def read_settings(folder: Path, **options: Any) -> Any:
    """Returns the settings in the config.json of a text encoder's folder, with some options.

    Raises:
        ValueError: the file is missing or damaged; an unknown encoder or option.
    """
    config = read_json(folder / "config.json", dict)
    return _with_options(_settings(_family(TEXT, config, folder), config, folder), options)


def load_text_weights(source: str | os.PathLike, settings: Any, target: Params) -> Params:
    """Loads a text encoder's parameters, with the types and shardings of `target`.

    Raises:
        ValueError: files are missing, damaged or of another network, or config.json differs from
            `settings`.
    """
    folder, family = resolve(source), OF_SETTINGS[type(settings)]
    file = folder / "config.json"
    if file.is_file():
        config = read_json(file, dict)
        released = _settings(_family(TEXT, config, folder), config, folder)
        if type(released) is type(settings):
            output = {name: getattr(settings, name) for name in OUTPUT if hasattr(settings, name)}
            released = replace(released, **output)
        if difference := describe_difference(settings, released):
            raise ValueError(f"settings: {difference} in {str(file)!r}")
    return _read_weights(family, folder, target)


@functools.lru_cache(maxsize=8)
def text_shapes(settings: Any, dtype: Any = jnp.float32) -> Params:
    """Returns the shapes of a text encoder's parameters."""
    n = getattr(settings, "positions", 8)
    ids, mask = (jax.ShapeDtypeStruct((1, n), kind) for kind in (jnp.int32, bool))
    network = OF_SETTINGS[type(settings)].network(settings)
    shapes = jax.eval_shape(network.init, jax.random.key(0), ids, mask)["params"]
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)


def find_tokenizer(source: str | os.PathLike) -> Path:
    """Finds the tokenizer's folder: the encoder's own, or "tokenizer_2" next to "text_encoder_2".

    Raises:
        ValueError: there is no such folder.
    """
    return _tokenizer_folder(resolve(source))


def load_image_encoder(
    source: str | os.PathLike,
    *,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
    **options: Any,
) -> tuple[clip.CLIPVision, Params]:
    """Loads an image encoder and its parameters from a folder with config.json and *.safetensors.

    Raises:
        ValueError: files are missing, damaged or of another network; an unknown encoder or option.
    """
    folder = resolve(source)
    settings = read_image_settings(folder, **options)
    params = load_image_weights(folder, image_shapes(settings, param_dtype))
    return clip.CLIPVision(settings, dtype), params


def read_image_settings(folder: Path, **options: Any) -> clip.CLIPVisionSettings:
    """Returns the settings in the config.json of an image encoder's folder, with some options.

    Raises:
        ValueError: the file is missing or damaged; an unknown encoder or option.
    """
    config = read_json(folder / "config.json", dict)
    return _with_options(_settings(_family(VISION, config, folder), config, folder), options)


def load_image_weights(source: str | os.PathLike, target: Params) -> Params:
    """Loads an image encoder's parameters, with the types and shardings of `target`.

    Raises:
        ValueError: files are missing, damaged or of another network.
    """
    return _read_weights(CLIP_VISION, resolve(source), target)


@functools.lru_cache(maxsize=8)
def image_shapes(settings: clip.CLIPVisionSettings, dtype: Any = jnp.float32) -> Params:
    """Returns the shapes of an image encoder's parameters."""
    images = jax.ShapeDtypeStruct((1, settings.size, settings.size, 3), jnp.float32)
    init = clip.CLIPVision(settings).init
    shapes = jax.eval_shape(init, jax.random.key(0), images)["params"]
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)


def _weights(family: Family, network: Any, folder: Path, dtype: Any, *inputs: Any) -> Params:
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), shapes)
    return _read_weights(family, folder, target)


def _read_weights(family: Family, folder: Path, target: Params) -> Params:
    file = find_weights(folder)
    tensors = open_tensors(file)
    return to_ours(family.table(tensors), tensors, target, source=str(file))


def _family(known: Mapping[str, Family], config: Mapping[str, Any], folder: Path) -> Family:
    kind = config.get("model_type")
    if kind not in known:
        raise ValueError(
            f"{str(folder / 'config.json')!r}: unknown encoder, model_type={kind!r}"
            + suggest(str(kind), list(known))
        )
    return known[kind]


def _settings(family: Family, config: Mapping[str, Any], folder: Path) -> Any:
    try:
        return family.settings(config)
    except KeyError as error:
        raise ValueError(f"{str(folder / 'config.json')!r} has no field {error}") from None


def _with_options(settings: Any, options: Mapping[str, Any]) -> Any:
    known = [field.name for field in fields(settings)]
    for name in options:
        if name not in known:
            raise ValueError(f"{type(settings).__name__} has no {name!r}{suggest(name, known)}")
    return replace(settings, **options)


def _sentence_settings(folder: Path, settings: Any) -> tuple[Any, int | None]:
    """Returns the settings with the pooling of sentence-transformers' files, and their window."""
    modules = folder / "modules.json"
    if not modules.exists() or not isinstance(settings, bert.BERTSettings):
        return settings, None
    try:
        listed = read_json(modules, list)
        parts = [(part["type"].rpartition(".")[2], part["path"]) for part in listed]
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{str(modules)!r} must list parts with a type and a path") from None
    for kind, path in parts:
        if kind == "Pooling":
            settings = replace(settings, pooling=_pooling(folder / path / "config.json"))
        elif kind == "Normalize":
            settings = replace(settings, normalize=True)
        elif kind != "Transformer":
            raise ValueError(f"{str(modules)!r} has a part {kind!r}; known: Pooling, Normalize")
    sizes = folder / "sentence_bert_config.json"
    return settings, read_json(sizes, dict).get("max_seq_length") if sizes.exists() else None


def _pooling(file: Path) -> str:
    modes = {
        name: on for name, on in read_json(file, dict).items() if name.startswith("pooling_mode_")
    }
    chosen = [name for name, on in modes.items() if on]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(chosen) != 1 or chosen[0] not in known:
        raise ValueError(f"{str(file)!r} has {chosen}; known is one of {', '.join(known)}")
    return known[chosen[0]]


def _tokenizer_folder(folder: Path) -> Path:
    neighbour = folder.parent / folder.name.replace("text_encoder", "tokenizer")
    own = any((folder / name).exists() for name in ("tokenizer.json", "vocab.json"))
    return folder if own or not neighbour.is_dir() else neighbour
