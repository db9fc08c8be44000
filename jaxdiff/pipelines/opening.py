"""A released model from a path: a diffusers folder, or a name on the hub."""

import os
from typing import Any

import jax.numpy as jnp

from jaxdiff.options import FloatType, check
from jaxdiff.pipelines.folders import INDEX, from_folder
from jaxdiff.pipelines.pipeline import Parts, Pipeline
from jaxdiff.pretrained import resolve
from jaxdiff.pretrained.families import network_shapes
from jaxdiff.weights.devices import Devices


def released(
    source: str | os.PathLike, *, dtype: Any = "float32", devices: Devices | None = None
) -> Pipeline:
    """Opens a released model: Stable Diffusion 1 and 2, SDXL, Stable Diffusion 3.

    Weights go from the file onto the devices, a tensor at a time.

    Args:
        source: a diffusers folder, with model_index.json; or a name on the hub.
        dtype: of the weights and of the computation, "float32" or "bfloat16".
        devices: all of them by default; `Devices(parallel="fsdp")` divides the weights too.

    Raises:
        ValueError: files are missing, damaged or of another model; names the file and the field,
            or the keys.
    """
    check("dtype", FloatType, dtype)
    devices = devices or Devices()
    path = resolve(source)
    if not (path / INDEX).is_file():
        raise ValueError(f"{str(path)!r} has no {INDEX}: it is no folder of a diffusers pipeline")
    parts = from_folder(path, jnp.dtype(dtype).name, devices)
    return Pipeline(parts, load(parts, dtype))


def load(parts: Parts, dtype: Any) -> dict[str, Any]:
    """Returns the weights, each array on its devices.

    Raises:
        ValueError: files are missing, damaged or of another network.
    """
    channels = parts.codec.network.settings.latent_channels
    side = parts.multiple // parts.codec.network.settings.factor
    shapes = network_shapes(parts.model.network, (side, side, channels), jnp.dtype(dtype))
    table = parts.table(shapes)
    targets = parts.devices.placed({"frozen": table.shapes()})["frozen"]
    return table.load(targets)
