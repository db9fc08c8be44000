"""Networks of research code in one file: DiT, SiT, guided diffusion, consistency models.

Their files hold the network alone. Widths are read from shapes; the rest, such as the number of
heads, is that of the models that their authors have released.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxdiff.codecs.latents import Latents
from jaxdiff.codecs.pixels import Pixels
from jaxdiff.diffusion import parameterizations
from jaxdiff.diffusion.preconditioning import TimeToData
from jaxdiff.diffusion.timesteps import Uniform
from jaxdiff.networks.dit import DiT
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.times import SinCos
from jaxdiff.networks.unet import UNet
from jaxdiff.pipelines.families import ADM, CONSISTENCY, DIT, Family, together
from jaxdiff.pipelines.folders import INDEX, read_codec
from jaxdiff.pipelines.layouts import InFile, Piece, Tensors
from jaxdiff.pipelines.parts import Parts
from jaxdiff.pipelines.schedulers import read_scheduler
from jaxdiff.pretrained.config import Config
from jaxdiff.pretrained.families import check_groups, network_shapes
from jaxdiff.pretrained.positions import check_positions
from jaxdiff.pretrained.rules import Table
from jaxdiff.pretrained.tables import original
from jaxdiff.weights.devices import Devices

FLOW, STEPS = "FlowMatchEulerDiscreteScheduler", "DDIMScheduler"
LEVELS, LEARNED = "CMStochasticIterativeScheduler", "DDPMScheduler"
OF_DIT = {"_class_name": STEPS, "clip_sample": False}
OF_ADM = {"_class_name": LEARNED, "variance_type": "learned_range"}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
"""The fields of the schedulers of DiT and of guided diffusion, as released."""

PATCHES, ENTRANCE = "x_embedder.proj.weight", "input_blocks.0.0.weight"
HEAD = 64
"""The width of a head, but in DiT-XL, by its width, and in the network of five levels."""
WIDE, WIDE_HEADS = 1152, 16
FEW_LEVELS, FEW_HEADS = 5, 4
NEW_ORDER = 4
"""The number of levels of the network whose queries, keys and values do not alternate by head."""
SMALLEST = 8
"""The size of the smallest images of OpenAI's networks."""


class Network(NamedTuple):
    """A network in a file, its table and its kind; the size of its data, and its scheduler."""

    network: Any
    table: Table
    family: Family
    side: int
    channels: int
    scheduler: Mapping[str, Any]


def is_research(tensors: Tensors) -> bool:
    """Returns whether the keys are those of a network that `parts_of` reads."""
    attends = any(key.endswith("attn2.to_k.weight") for key in tensors)
    return PATCHES in tensors or (ENTRANCE in tensors and not attends)


def parts_of(
    file: Path,
    tensors: Tensors,
    dtype: str,
    devices: Devices,
    config: Path | None,
    changes: Mapping[str, Any],
) -> Parts:
    """Returns the parts of a model whose network is in a file.

    Args:
        file: with its `tensors`; `dtype`, of the computation.
        devices: where weights and samples lie.
        config: of latents, the folder of an autoencoder, or of a pipeline that has one.
        changes: fields of the scheduler. `_class_name` says whether a file is of DiT or of SiT, of
            guided diffusion or of a consistency model, where its keys do not.

    Raises:
        ValueError: the file does not say what it is, or cannot be expressed; no autoencoder.
    """
    name, latent = repr(str(file)), PATCHES in tensors
    try:
        found = (_transformer if latent else _unet)(tensors, name, changes.get("_class_name"))
    except (KeyError, StopIteration) as error:
        what = "DiT's" if latent else "a U-Net's of guided diffusion"
        raise ValueError(f"{name} has keys like {what}, but none {error or 'of a level'}") from None
    network = found.network.clone(dtype=jnp.dtype(dtype))
    scheduler = read_scheduler(Config({**found.scheduler, **changes}, f"the scheduler of {name}"))
    if latent and scheduler.parameterization is parameterizations.velocity:
        # SiT counts time from noise to data, in equal steps.
        scheduler = scheduler._replace(
            parameterization=parameterizations.velocity_to_data,
            time_input=TimeToData(),
            timesteps=Uniform(),
        )
    codec = _codec(config, name, dtype) if latent else Pixels()
    check_positions(network, tensors.get("pos_embed"), name)
    shape = (found.side, found.side, found.channels)
    check_groups(network, network_shapes(network, shape), name)
    sources: dict[str, Any] = {"network": InFile(file, tensors, {(): Piece("", found.table)})}
    sources |= {"codec": codec} if isinstance(codec, Latents) else {}
    family, side = found.family, shape[:2]
    parts = together(family, network, scheduler, codec, None, sources, side, devices)
    return parts if latent else replace(parts, channels=found.channels)


def _transformer(tensors: Tensors, name: str, kind: str | None) -> Network:
    """Returns DiT (Peebles & Xie, 2023) or SiT (Ma et al., 2024)."""
    if kind is None:
        raise ValueError(
            f"{name} does not say whether it is of DiT or of SiT: give scheduler="
            f"{{'_class_name': {STEPS!r}}} or {{'_class_name': {FLOW!r}}}"
        )
    features, channels, patch, _ = tensors[PATCHES].shape
    blocks = {key.split(".")[1] for key in tensors if key.startswith("blocks.")}
    network = DiT(
        features=features,
        depth=len(blocks),
        num_heads=WIDE_HEADS if features == WIDE else features // HEAD,
        patch=(1, patch, patch),
        time_sinusoids=SinCos(),
        inputs=Inputs(num_classes=tensors["y_embedder.embedding_table.weight"].shape[0] - 1),
        out_channels=tensors["final_layer.linear.weight"].shape[0] // patch**2,
    )
    side = math.isqrt(tensors["pos_embed"].shape[1]) * patch
    scheduler = OF_DIT if kind == STEPS else {}
    return Network(network, original.dit(patch), DIT, side, channels, scheduler)


def _unet(tensors: Tensors, name: str, kind: str | None) -> Network:
    """Returns a U-Net of guided diffusion (Dhariwal & Nichol, 2021) or of a consistency model."""
    channels = tensors[ENTRANCE].shape[1]
    outputs = tensors["out.2.weight"].shape[0]
    if channels not in (outputs, outputs // 2):
        raise ValueError(
            f"{name} reads {channels} channels and gives {outputs}: it enlarges pictures, which"
            " cannot be expressed"
        )
    if outputs == channels and kind is None:
        raise ValueError(
            f"{name} does not say whether it is of a consistency model or predicts noise: give"
            f" scheduler={{'_class_name': {LEVELS!r}}} or {{'_class_name': {LEARNED!r}}}"
        )
    consistent = kind == LEVELS
    count = len({key.split(".")[1] for key in tensors if key.startswith("input_blocks.")})
    # The last block of the lowest level on the way up ends in one that doubles the size.
    layers = next(i for i in range(count) if _doubles(tensors, i))
    levels = count // (layers + 1)
    firsts = [f"input_blocks.{1 + level * (layers + 1)}" for level in range(levels)]
    widths = [tensors[f"{first}.0.out_layers.3.weight"].shape[0] for first in firsts]
    attends = [f"{first}.1.qkv.weight" in tensors for first in firsts]
    few = levels == FEW_LEVELS and not consistent
    heads = [FEW_HEADS if few else max(each // HEAD, 1) for each in widths]
    side, classes = SMALLEST * 2 ** (levels - 1), tensors.get("label_emb.weight")
    network = UNet(
        channels=tuple(widths),
        layers_per_block=layers,
        attention_at=tuple(side >> i for i, each in enumerate(attends) if each),
        num_heads=tuple(heads),
        scale_shift=tensors[f"{firsts[0]}.0.emb_layers.1.weight"].shape[0] == 2 * widths[0],
        resample_in_block=_doubles(tensors, layers) == "in_layers.0",
        embedding_features=tensors["time_embed.0.weight"].shape[0],
        inputs=Inputs(
            num_classes=None if classes is None else classes.shape[0], learned_null=False
        ),
        out_channels=outputs,
    )
    alternating = levels != NEW_ORDER and not consistent
    table = original.adm(levels, layers, attends, heads if alternating else [1] * levels)
    scheduler = {} if consistent else OF_ADM | (COSINE if levels == NEW_ORDER else {})
    family = CONSISTENCY if consistent else ADM
    return Network(network, table, family, side, channels, scheduler)


def _doubles(tensors: Tensors, block: int) -> str:
    """Returns the layer by which a block on the way up doubles the size; "" if it does not."""
    names = [(place, layer) for place in (1, 2) for layer in ("in_layers.0", "conv")]
    found = (n for p, n in names if f"output_blocks.{block}.{p}.{n}.weight" in tensors)
    return next(found, "")


def _codec(config: Path | None, name: str, dtype: str) -> Latents:
    if config is None:
        raise ValueError(
            f"{name} has no autoencoder: give config=, the folder of one, or of a diffusers"
            " pipeline that has one"
        )
    return read_codec(config / "vae" if (config / INDEX).is_file() else config, dtype)
