"""A folder of a diffusers pipeline: model_index.json, and a folder for each part."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxdiff.codecs.latents import Latents
from jaxdiff.codecs.pixels import Pixels
from jaxdiff.conditioning.encoders import TextEncoder
from jaxdiff.conditioning.images import ImageStates
from jaxdiff.conditioning.loading import read_image_settings, read_settings
from jaxdiff.config.build import suggest
from jaxdiff.files import read_json
from jaxdiff.networks.text.t5 import T5Settings
from jaxdiff.pipelines.families import FAMILIES, Family, joined, together
from jaxdiff.pipelines.parts import Parts
from jaxdiff.pipelines.schedulers import Scheduler, read_scheduler
from jaxdiff.pretrained.config import Config, read_config
from jaxdiff.pretrained.families import describe, read_network
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.sources import Files

INDEX = "model_index.json"

OTHERS = ("transformer_2", "boundary_ratio", "expand_timesteps")
"""Fields of models of several networks, and of times that differ between frames: Wan 2.2's."""


def from_folder(folder: Path, dtype: Any, devices: Devices, scheduler: Mapping[str, Any]) -> Parts:
    """Returns the parts that a folder describes, with changes of its scheduler; reads no weights.

    Raises:
        ValueError: the pipeline is unknown, a file is missing, or a field cannot be expressed.
    """
    index = read_json(folder / INDEX, dict)
    name = index.get("_class_name")
    if name not in FAMILIES:
        hint = suggest(str(name), list(FAMILIES))
        raise ValueError(
            f"{str(folder / INDEX)!r}: _class_name={name!r} is no pipeline that can be read{hint}"
        )
    for other in OTHERS:
        if (value := index.get(other)) not in (None, False, [None, None]):
            raise ValueError(f"{str(folder / INDEX)!r}: {other}={value!r} cannot be expressed")
    family = FAMILIES[name]
    part = folder / family.network
    network, _ = describe(part / "config.json", jnp.dtype(dtype))
    side = read_config(part / "config.json").get("sample_size") or 64
    side = (side, side) if isinstance(side, int) else tuple(side)
    codec = read_codec(folder / "vae", dtype) if "vae" in index else Pixels()
    each = [
        read_encoder(folder / name, family, dtype) if index.get(name, (None, None))[0] else None
        for name in family.encoders
    ]
    needed = family.encoders[:2]
    if "aesthetic_score" in network.inputs.joint_numbers:
        needed = needed[1:]  # the refiner of SDXL
    there = dict(zip(family.encoders, each, strict=True))
    if missing := [name for name in needed if there[name] is None]:
        raise ValueError(f"{str(folder / INDEX)!r} has no {missing[0]!r}, which {name} needs")
    zeros = index.get("force_zeros_for_empty_prompt", True)
    text = joined(family, each, network, zero_null=zeros)
    read = lambda path, target: read_network(path, network, target)
    sources: dict[str, Any] = {"network": Files(str(part), read)}
    sources |= {"codec": codec} if isinstance(codec, Latents) else {}
    sources |= {} if text is None else {"text": text}
    image = None
    if network.inputs.image_features:
        image = read_image_encoder(folder / "image_encoder", dtype)
        sources["image"] = image
    parts = together(
        family,
        network,
        folder_scheduler(folder, family, scheduler),
        codec,
        text,
        sources,
        family.size or side,
        devices,
    )
    return replace(parts, image=image)


def folder_scheduler(folder: Path, family: Family, changes: Mapping[str, Any]) -> Scheduler:
    """Returns the scheduler of a folder, with changes of its fields.

    Raises:
        ValueError: its file is missing, or a field cannot be expressed.
    """
    file = folder / "scheduler" / "scheduler_config.json"
    fields = read_json(file, dict)
    forced = {name: value for name, value in family.forced if name in fields}
    return read_scheduler(Config({**fields, **forced, **changes}, str(file)))


def read_codec(folder: Path, dtype: Any) -> Latents:
    """Returns the autoencoder in a folder, in single precision where its config asks for it.

    Raises:
        ValueError: its config.json is missing, or a field cannot be expressed.
    """
    if read_config(folder / "config.json").get("force_upcast"):
        dtype = "float32"
    network, _ = describe(folder / "config.json", jnp.dtype(dtype))
    return Latents(network, weights=str(folder), dtype=dtype, param_dtype=dtype)


def read_encoder(folder: Path, family: Family, dtype: Any) -> TextEncoder:
    """Returns the text encoder in a folder, its tokenizer in the folder beside it.

    Raises:
        ValueError: its config.json is missing, or of an unknown encoder.
    """
    settings = read_settings(folder)
    shape = dict(family.t5)
    if not isinstance(settings, T5Settings):
        settings, shape = read_settings(folder, **dict(family.options)), {}
    return TextEncoder(settings, weights=str(folder), **shape, dtype=dtype, param_dtype=dtype)


def read_image_encoder(folder: Path, dtype: Any) -> ImageStates:
    """Returns the encoder in a folder of the picture that a network continues.

    Raises:
        ValueError: its config.json is missing, or of an unknown encoder.
    """
    # Wan reads the states before the last layer.
    settings = read_image_settings(folder, clip_skip=1)
    return ImageStates(settings, weights=str(folder), dtype=dtype, param_dtype=dtype)
