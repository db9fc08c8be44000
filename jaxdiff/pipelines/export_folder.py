"""A pipeline's weights as a diffusers folder, which public tools read."""

import functools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jaxdiff.files import read_json
from jaxdiff.networks.dit import MMDiT
from jaxdiff.networks.unet import UNet
from jaxdiff.networks.video_autoencoder import VideoAutoencoder
from jaxdiff.pipelines.folders import INDEX
from jaxdiff.pipelines.lora import OF_SEVERAL
from jaxdiff.pipelines.pipeline import Pipeline
from jaxdiff.pretrained import to_theirs
from jaxdiff.pretrained.families import table_of
from jaxdiff.pretrained.files import open_tensors, resolve, write_tensors
from jaxdiff.pretrained.lora.files import ENCODERS
from jaxdiff.pretrained.positions import positions_of
from jaxdiff.pretrained.rules import Table
from jaxdiff.pretrained.tables import autoencoder, text, unet
from jaxdiff.pretrained.tables.video_autoencoder import video_autoencoder
from jaxdiff.typing import Params

NETWORK_FILE, ENCODER_FILE = "diffusion_pytorch_model.safetensors", "model.safetensors"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.index.json", "*.msgpack")


def save_folder(pipeline: Pipeline, folder: str | os.PathLike, like: str | os.PathLike) -> None:
    """Writes a pipeline as a diffusers folder.

    Args:
        pipeline: with weights that were trained further, or merged with adapters.
        folder: a new one.
        like: the diffusers folder of the same model, whose settings, scheduler and tokenizers are
            copied.

    Raises:
        ValueError: the folder exists, or `like` is of another model, or the pipeline has words or
            image prompts that such a folder has no place for.
    """
    target, source = Path(folder), resolve(like)
    if target.exists():
        raise ValueError(f"{str(target)!r} is there already")
    if not (source / INDEX).is_file():
        raise ValueError(f"like={str(source)!r} is no diffusers folder: it has no {INDEX}")
    if pipeline.parts.image_prompt is not None:
        raise ValueError("an IP-Adapter has no place in a folder: save the pipeline without it")
    pieces = _pieces(pipeline, source)
    for place, (table, params, more) in pieces.items():
        shapes = jax.eval_shape(functools.partial(to_theirs, table), params)
        _check(shapes, more, (source / place).parent)
    draft = target.with_name(f"{target.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft, ignore=shutil.ignore_patterns(*WEIGHTS))
    for place, (table, params, more) in pieces.items():
        write_tensors({**to_theirs(table, params), **more}, draft / place)
    draft.rename(target)


def _pieces(pipeline: Pipeline, source: Path) -> dict[str, tuple[Table, Params, Mapping[str, Any]]]:
    """Returns for each file its table, its weights, and arrays that are no weights here."""
    network, weights = pipeline.parts.model.network, pipeline.weights
    part, more = "transformer", {}
    if isinstance(network, UNet):
        part = "unet"
        config = read_json(source / part / "config.json", dict)
        linear = bool(config.get("use_linear_projection", False))
        table = unet.unet2d(len(network.channels), linear_projection=linear)
    else:
        table = table_of(network, {})
    if isinstance(network, MMDiT):
        more = {"pos_embed.pos_embed": positions_of(network)}
    pieces = {f"{part}/{NETWORK_FILE}": (table, weights["network"], more)}
    if "codec" in weights:
        pieces[f"vae/{NETWORK_FILE}"] = (_of_codec(pipeline.parts.codec), weights["codec"], {})
    if "image" in weights:
        pieces[f"image_encoder/{ENCODER_FILE}"] = (text.clip_vision(), weights["image"], {})
    if "text" not in weights:
        return pieces
    inner = weights["text"]["network"]
    encoders = {ENCODERS[0]: inner}
    if "words" not in inner:
        encoders = {OF_SEVERAL[name]: params for name, params in inner.items() if params}
    for name, params in encoders.items():
        pieces[f"{name}/{ENCODER_FILE}"] = (_of_encoder(params), params, {})
    return pieces


def _of_codec(codec: Any) -> Table:
    settings = codec.network.settings
    if isinstance(codec.network, VideoAutoencoder):
        return video_autoencoder(len(settings.channels), settings.layers_per_block)
    return autoencoder.autoencoder(len(settings.channels))


def _of_encoder(params: Params) -> Table:
    own = "distances_0" in params
    return text.t5(own_distances=own) if own or "distances" in params else text.clip_text()


def _check(tensors: Mapping[str, Any], more: Mapping[str, Any], folder: Path) -> None:
    """Raises ValueError where the model's own folder is missing, or holds others than `tensors`.

    Its files may leave out `more`, which are no weights.
    """
    if not folder.is_dir():
        raise ValueError(f"like: there is no folder {str(folder)!r}, which the model needs")
    if not any(folder.glob("*.safetensors")):
        return
    known = {key: tuple(value.shape) for key, value in open_tensors(folder).items()}
    there = {key: value for key, value in more.items() if key in known}
    for key, value in {**tensors, **there}.items():
        if known.get(key) != tuple(value.shape):
            raise ValueError(
                f"{str(folder)!r} is of another model: {key} is {known.get(key)} there, and"
                f" {tuple(value.shape)} here"
            )
