"""A pipeline's weights as one file, in the layout of the model's authors."""

import os
from pathlib import Path
from typing import Any

from jaxdiff.networks.dit import MMDiT
from jaxdiff.pipelines.families import SD, SD3, SDXL
from jaxdiff.pipelines.layouts import (
    CLIP_HF,
    CLIP_OPEN,
    CODECS,
    NETWORK,
    REFINER_ENCODERS,
    SD3_ENCODERS,
    SDXL_ENCODERS,
)
from jaxdiff.pipelines.pipeline import Pipeline
from jaxdiff.pretrained import to_theirs
from jaxdiff.pretrained.files import write_tensors
from jaxdiff.pretrained.positions import positions_of
from jaxdiff.pretrained.rules import Table
from jaxdiff.pretrained.tables import original, text
from jaxdiff.pretrained.tables.autoencoder import ldm_autoencoder

LAYOUTS = (SD.name, SDXL.name, SD3.name)
"""The families whose single files are read and written."""


def save_file(pipeline: Pipeline, path: str | os.PathLike) -> None:
    """Writes a pipeline's weights as one .safetensors file, which public tools read.

    Of Stable Diffusion 2, the text encoder's last layer, which no one reads, is not there; of
    Stable Diffusion 3, the first CLIP must not project its vector, as in single files.

    Raises:
        ValueError: the name has another suffix; a part has no place in such a file.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{str(path)!r}: the file name must end in .safetensors")
    network = pipeline.parts.model.network
    if pipeline.parts.family not in LAYOUTS:
        raise ValueError(
            f"{pipeline.parts.family} has no layout of a single file here, only"
            f" {', '.join(LAYOUTS)}: write a folder, by save_folder"
        )
    pieces = {
        NETWORK: (network_table(network), pipeline.weights["network"]),
        CODECS[0]: (ldm_autoencoder(), pipeline.weights["codec"]),
        **_encoders(pipeline),
    }
    tensors = {
        prefix + key: value
        for prefix, (table, params) in pieces.items()
        for key, value in to_theirs(table, params).items()
    }
    if isinstance(network, MMDiT):
        tensors[f"{NETWORK}pos_embed"] = positions_of(network)
    write_tensors(tensors, path)


def network_table(network: Any) -> Table:
    """Returns the table between a network and its authors' names."""
    if isinstance(network, MMDiT):
        return original.mmdit(network.depth, network.patch[-1], network.dual_depth)
    depths, layers = network.transformer_depth, network.layers_per_block
    return original.unet(depths, layers, linear_projection=not is_first(network))


def is_first(network: Any) -> bool:
    """Returns whether a U-Net is that of Stable Diffusion 1: as many heads at every level."""
    even = network.head_channels is None and isinstance(network.num_heads, int)
    return even and not network.inputs.joint_numbers


def _encoders(pipeline: Pipeline) -> dict[str, tuple[Table, Any]]:
    inner = pipeline.weights["text"]["network"]
    match pipeline.parts.family:
        case "StableDiffusion" if is_first(pipeline.parts.model.network):
            return {CLIP_HF: (text.clip_text(), inner)}
        case "StableDiffusion":
            return {CLIP_OPEN: (text.open_clip_text(), inner)}
        case "StableDiffusionXL" if "clip_l" not in inner:
            return {REFINER_ENCODERS[0]: (text.open_clip_text(), inner["bigg"])}
        case "StableDiffusionXL":
            first, second = SDXL_ENCODERS
            return {
                first: (text.clip_text(), inner["clip_l"]),
                second: (text.open_clip_text(), inner["bigg"]),
            }
    if "projection" in inner["clip_l"]:
        raise ValueError(
            "the first CLIP projects its vector, for which single files of Stable Diffusion 3 have"
            " no place"
        )
    tables = {"clip_l": text.clip_text(), "bigg": text.clip_text(), "t5": text.t5()}
    names = zip(SD3_ENCODERS, tables, strict=True)
    return {prefix: (tables[name], inner[name]) for prefix, name in names if inner[name]}
