"""A released model from a path: a diffusers folder, a single file, or a name on the hub."""

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp

from jaxdiff.caches import use_compilation_cache
from jaxdiff.options import FloatType, check
from jaxdiff.pipelines.folders import INDEX, from_folder
from jaxdiff.pipelines.parts import Parts
from jaxdiff.pipelines.pipeline import Pipeline
from jaxdiff.pipelines.single_files import from_file
from jaxdiff.pretrained import resolve
from jaxdiff.pretrained.families import network_shapes
from jaxdiff.pretrained.files import refuse_pickled
from jaxdiff.weights.devices import Devices


def released(
    source: str | os.PathLike,
    *,
    dtype: Any = "float32",
    devices: Devices | None = None,
    scheduler: Mapping[str, Any] = MappingProxyType({}),
    config: str | os.PathLike | None = None,
    tokenizer: str | os.PathLike | None = None,
    controlnet: str | os.PathLike | Sequence[str | os.PathLike] = (),
) -> Pipeline:
    """Opens a released model from its files; docs/released.md has the kinds.

    Weights go from the file onto the devices, a tensor at a time. Compiled programs are kept in the
    user's cache folder.

    Args:
        source: a diffusers folder, with model_index.json, or a name on the hub; or a .safetensors
            file in the layout of the model's authors.
        dtype: of the weights and of the computation, "float32" or "bfloat16".
        devices: all of them by default; `Devices(parallel="fsdp")` divides the weights too.
        scheduler: fields of the scheduler's config in place of those in the files, such as
            {"prediction_type": "v_prediction"}.
        config: of a single file, a diffusers folder whose settings and tokenizers are its own, and
            whose weights are those of parts that the file does not have; of a network of latents
            in a file of research code, the folder of an autoencoder may stand for it.
        tokenizer: of a single file without `config`, the folder of CLIP's tokenizer, or one with
            folders "tokenizer" and, for T5, "tokenizer_3"; by default the file's.
        controlnet: a ControlNet, as in `Pipeline.with_controlnet`, or several.

    Raises:
        ValueError: files are missing, damaged or of another model; names the file and the field,
            or the keys.
    """
    check("dtype", FloatType, dtype)
    use_compilation_cache()
    devices, kind = devices or Devices(), jnp.dtype(dtype).name
    path = resolve(source)
    refuse_pickled(path)
    if path.suffix == ".safetensors" and path.is_file():
        parts = from_file(
            path,
            kind,
            devices,
            config=resolve(config) if config else None,
            tokenizer=os.fspath(tokenizer or ""),
            scheduler=scheduler,
        )
    elif (path / INDEX).is_file():
        if config or tokenizer:
            raise ValueError(
                f"config and tokenizer are of a single file, and {str(path)!r} is none"
            )
        parts = from_folder(path, kind, devices, scheduler)
    else:
        raise ValueError(
            f"{str(path)!r} is no folder of a diffusers pipeline (it has no {INDEX}), and no"
            " .safetensors file"
        )
    pipeline = Pipeline(parts, load(parts, dtype))
    single = isinstance(controlnet, str | os.PathLike)
    for each in [controlnet] if single else controlnet:
        pipeline = pipeline.with_controlnet(each)
    return pipeline


def load(parts: Parts, dtype: Any) -> dict[str, Any]:
    """Returns the weights, each array on its devices.

    Raises:
        ValueError: files are missing, damaged or of another network.
    """
    each = parts.multiple
    smallest = (*(1 for _ in parts.size[:-2]), each, each)
    shape = parts.latent_shape(parts.size if parts.fixed else smallest)
    shapes = network_shapes(parts.model.network, shape, jnp.dtype(dtype))
    table = parts.table(shapes)
    targets = parts.devices.placed({"frozen": table.shapes()})["frozen"]
    return table.load(targets)
