"""Nodes that open models: whole ones, parts of them, and adapters."""

from dataclasses import replace
from typing import Annotated, Literal

from jaxdiff.conditioning import encoders
from jaxdiff.pipelines.pipeline import Pipeline
from jaxdiff.studio.graph.ports import File
from jaxdiff.studio.graph.steering import OfControl
from jaxdiff.studio.graph.values import (
    Clip,
    Control,
    Here,
    Model,
    OfClip,
    Strength,
    Studio,
    Vae,
    of_pipeline,
    pipeline_of,
)

Checkpoint = Annotated[str, File("checkpoints")]
Diffusion = Annotated[str, File("diffusion_models")]
Text = Annotated[str, File("text_encoders")]
Autoencoder = Annotated[str, File("vae")]
Adapter = Annotated[str, File("loras")]
Controller = Annotated[str, File("controlnet")]


def _opened(studio: Studio, folder: str, name: str) -> Pipeline:
    return studio.opened(studio.folders.path(folder, name))


def CheckpointLoaderSimple(ckpt_name: Checkpoint, studio: Here = None) -> tuple[Model, Clip, Vae]:
    """A released model: a folder of diffusers, or a single file of its authors."""
    return of_pipeline(_opened(studio, "checkpoints", ckpt_name))


def UNETLoader(
    unet_name: Diffusion,
    weight_dtype: Literal["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"] = "default",
    studio: Here = None,
) -> Model:
    """The network of a released model: a folder or a file in which all of it is."""
    if weight_dtype != "default":
        raise ValueError(f"UNETLoader: weight_dtype={weight_dtype!r} is not here, only 'default'")
    return of_pipeline(_opened(studio, "diffusion_models", unet_name))[0]


def VAELoader(vae_name: Autoencoder, studio: Here = None) -> Vae:
    """The autoencoder of a released model: a folder or a file in which all of it is."""
    return of_pipeline(_opened(studio, "vae", vae_name))[2]


def CLIPLoader(
    clip_name: Text,
    type: Literal["stable_diffusion", "sd3"] = "stable_diffusion",
    device: Literal["default", "cpu"] = "default",
    studio: Here = None,
) -> Clip:
    """The text encoder of a released model: a folder or a file in which all of it is."""
    return of_pipeline(_opened(studio, "text_encoders", clip_name))[1]


def DualCLIPLoader(
    clip_name1: Text,
    clip_name2: Text,
    type: Literal["sdxl", "sd3"] = "sdxl",
    device: Literal["default", "cpu"] = "default",
    studio: Here = None,
) -> Clip:
    """Two text encoders in one: clip_l of the first model, bigg of the second."""
    first, second = (
        of_pipeline(_opened(studio, "text_encoders", name))[1] for name in (clip_name1, clip_name2)
    )
    return _joined({"clip_l": first, "bigg": second})


def TripleCLIPLoader(
    clip_name1: Text, clip_name2: Text, clip_name3: Text, studio: Here = None
) -> Clip:
    """The three text encoders of Stable Diffusion 3: clip_l, bigg and t5, each of its model."""
    each = [
        of_pipeline(_opened(studio, "text_encoders", name))[1]
        for name in (clip_name1, clip_name2, clip_name3)
    ]
    return _joined(dict(zip(("clip_l", "bigg", "t5"), each, strict=True)))


def _joined(each: dict[str, OfClip]) -> OfClip:
    """Returns one text encoder with parts of several."""
    *_, last = each.values()
    if not isinstance(last.encoder, encoders.SDXL | encoders.SD3):
        raise ValueError("the files hold no model with several text encoders")
    parts, weights = {}, {}
    for name, clip in each.items():
        if not hasattr(clip.encoder, name):
            raise ValueError(f"the file given for {name} holds no such text encoder")
        parts[name] = getattr(clip.encoder, name)
        weights[name] = clip.params["network"][name]
    network = {**last.params["network"], **weights}
    return OfClip(replace(last.encoder, **parts), {**last.params, "network": network})


def LoraLoader(
    model: Model,
    clip: Clip,
    lora_name: Adapter,
    strength_model: Strength = 1.0,
    strength_clip: Strength = 1.0,
    studio: Here = None,
) -> tuple[Model, Clip]:
    """A model and its text encoder with an adapter, each with its own strength."""
    path = studio.folders.path("loras", lora_name)
    whole = pipeline_of(model, clip)
    changed = whole.with_lora(path, strength_model, strict=False) if strength_model else whole
    texts = whole.with_lora(path, strength_clip, strict=False) if strength_clip else whole
    return (
        replace(model, params=changed.weights["network"]),
        replace(clip, params=texts.weights["text"]),
    )


def LoraLoaderModelOnly(
    model: Model, lora_name: Adapter, strength_model: Strength = 1.0, studio: Here = None
) -> Model:
    """A model with an adapter; what the file has for text encoders is left out."""
    if strength_model == 0:
        return model
    path = studio.folders.path("loras", lora_name)
    changed = pipeline_of(model).with_lora(path, strength_model, strict=False)
    return replace(model, params=changed.weights["network"])


def ControlNetLoader(control_net_name: Controller, studio: Here = None) -> Control:
    """A ControlNet, or a T2I-Adapter; it is read for the model that samples."""
    path = studio.folders.path("controlnet", control_net_name)
    return OfControl(path, str(path.stat().st_mtime_ns))
