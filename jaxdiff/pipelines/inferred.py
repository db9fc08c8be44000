"""The settings of released models, for a file that has none of its own."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxdiff.codecs.latents import Latents
from jaxdiff.conditioning.encoders import TextEncoder
from jaxdiff.networks import released
from jaxdiff.networks.autoencoder import AutoencoderKL, sd3_vae, sd_vae, sdxl_vae
from jaxdiff.networks.dit import CentredGrid, MMDiT, SinCosPositions
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.text.clip import CLIPTextSettings, clip_vit_l_14, openclip_bigg_14
from jaxdiff.networks.text.t5 import t5_v1_1_xxl
from jaxdiff.networks.unet import UNet
from jaxdiff.pipelines.families import PENULTIMATE, SD, SD3, SDXL, joined, together
from jaxdiff.pipelines.layouts import CLIP_HF, NETWORK, REFINER_ENCODERS, Layout, Tensors
from jaxdiff.pipelines.parts import Parts
from jaxdiff.pipelines.schedulers import Scheduler, read_scheduler
from jaxdiff.pretrained import resolve
from jaxdiff.pretrained.config import Config
from jaxdiff.pretrained.peers import MAPS
from jaxdiff.weights.devices import Devices

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SCHEDULERS = {
    SD.name: {
        "_class_name": "PNDMScheduler",
        **BETAS,
        "skip_prk_steps": True,
        "steps_offset": 1,
    },
    SDXL.name: {
        "_class_name": "EulerDiscreteScheduler",
        **BETAS,
        "timestep_spacing": "leading",
        "steps_offset": 1,
    },
    SD3.name: {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
}
"""The fields of the schedulers that the released models come with."""

OPEN_CLIP_PAD = "!"
"""The token with which OpenCLIP's encoders were padded in training."""


def parts_of(
    layout: Layout,
    tensors: Tensors,
    file: Path,
    dtype: str,
    devices: Devices,
    tokenizer: str,
    scheduler: Mapping[str, Any],
) -> Parts:
    """Returns the parts of the released model that a file holds; without sources.

    Raises:
        ValueError: a part is missing; the tokenizer is not found; the file is of a variant that
            cannot be expressed, or does not say what the network predicts.
    """
    family, name = layout.family, repr(str(file))
    refines = layout.encoders == REFINER_ENCODERS
    needed = 1 if family is SD or refines else 2
    if len(layout.encoders) < needed or not layout.codec:
        what = "autoencoder" if len(layout.encoders) >= needed else "text encoders"
        raise ValueError(f"{name} has no {what}; give config=, a diffusers folder that has")
    network = network_of(layout, tensors, name).clone(dtype=jnp.dtype(dtype))
    settings = {SD: sd_vae, SDXL: sdxl_vae, SD3: sd3_vae}[family]()
    # SDXL's overflows in half precision.
    kind = "float32" if family is SDXL else dtype
    codec = Latents(AutoencoderKL(settings, jnp.dtype(kind)), dtype=kind, param_dtype=kind)
    second = family is SD and layout.encoders != (CLIP_HF,)
    fields = {**SCHEDULERS[family.name], **scheduler}
    if second and "prediction_type" not in fields:
        raise ValueError(
            f"{name} is of Stable Diffusion 2, and does not say whether the network predicts v (768"
            " pixels) or noise (512): give scheduler={'prediction_type': 'v_prediction'} or"
            " 'epsilon'"
        )
    wide = fields.get("prediction_type") == "v_prediction"
    side = {SD: 96 if wide else 64, SDXL: 128, SD3: 128}[family]
    each = encoders_of(layout, file, dtype, tokenizer)
    text = joined(family, each, network, zero_null=not refines)
    return together(
        family, network, _scheduler(fields, name), codec, text, {}, (side, side), devices
    )


def network_of(layout: Layout, tensors: Tensors, name: str) -> UNet | MMDiT:
    """Returns the network of a file, by its family and a few shapes.

    Raises:
        ValueError: it reads other inputs than text, or has blocks that cannot be expressed.
    """
    if layout.family is SD3:
        blocks = [key for key in tensors if key.endswith(".x_block.attn.qkv.weight")]
        depth, normed = len(blocks), f"{NETWORK}joint_blocks.0.x_block.attn.ln_q.weight" in tensors
        dual = [key for key in tensors if key.endswith(".x_block.attn2.qkv.weight")]
        most = round(tensors[f"{NETWORK}pos_embed"].shape[1] ** 0.5)
        return released.sd3_medium(
            features=64 * depth,
            depth=depth,
            num_heads=depth,
            dual_depth=len(dual),
            qk_norm="head" if normed else None,
            positions=SinCosPositions(CentredGrid(extent=64.0, most=most)),
        )
    channels = tensors[f"{NETWORK}input_blocks.0.0.weight"].shape[1]
    if channels not in MAPS:
        raise ValueError(
            f"{name} reads {channels} channels: a model for editing, which cannot be expressed"
        )
    makers = {(CLIP_HF,): released.stable_diffusion_15, REFINER_ENCODERS: released.sdxl_refiner}
    other = released.sdxl if layout.family is SDXL else released.stable_diffusion_2
    network = makers.get(layout.encoders, other)()
    inputs = {f.name: getattr(network.inputs, f.name) for f in fields(network.inputs)}
    return network.clone(inputs=Inputs(**{**inputs, "maps": dict(MAPS[channels])}))


def encoders_of(layout: Layout, file: Path, dtype: str, tokenizer: str) -> list[TextEncoder | None]:
    """Returns the text encoders of a family, without weights.

    Raises:
        ValueError: there is no tokenizer.
    """
    clip = lambda settings, pad="": TextEncoder(
        settings, tokenizer=words(file, tokenizer, "tokenizer"), pad=pad, **types
    )
    types = {"dtype": dtype, "param_dtype": dtype}
    penultimate = lambda settings: replace(settings, **dict(PENULTIMATE))
    if layout.family is SD:
        if layout.encoders == (CLIP_HF,):
            return [clip(clip_vit_l_14())]
        return [clip(openclip_h_14_penultimate(), OPEN_CLIP_PAD)]
    bigg = clip(openclip_bigg_14(), OPEN_CLIP_PAD)
    if layout.encoders == REFINER_ENCODERS:
        return [None, bigg]
    if layout.family is SDXL:
        return [clip(penultimate(clip_vit_l_14())), bigg]
    t5 = None
    if len(layout.encoders) > 2:
        third = words(file, tokenizer, "tokenizer_3")
        shape = dict(SD3.t5)
        t5 = TextEncoder(t5_v1_1_xxl(), tokenizer=third, **shape, **types)
    return [clip(penultimate(clip_vit_l_14())), bigg, t5]


def openclip_h_14_penultimate() -> CLIPTextSettings:
    """Returns the sizes of OpenCLIP's ViT-H/14 without its last layer, of Stable Diffusion 2."""
    return CLIPTextSettings(width=1024, layers=23, heads=16, mlp_width=4096, activation="gelu")


def words(file: Path, tokenizer: str, name: str) -> str:
    """Returns the folder of a tokenizer: in one that is given, or beside the file.

    Raises:
        ValueError: there is none.
    """
    near = resolve(tokenizer) if tokenizer else file.parent
    for folder in (near / name, *([near] if name == "tokenizer" else [])):
        if any((folder / each).is_file() for each in ("tokenizer.json", "vocab.json")):
            return str(folder)
    raise ValueError(
        f"{str(file)!r} has no tokenizer, nor is there one in {str(near / name)!r}: give"
        " tokenizer=, a folder with vocab.json and merges.txt, such as of CLIP ViT-L/14"
        " (openai/clip-vit-large-patch14), or config=, a diffusers folder"
    )


def _scheduler(fields: Mapping[str, Any], name: str) -> Scheduler:
    return read_scheduler(Config(fields, f"the scheduler of {name}"))
