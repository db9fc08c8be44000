"""The kinds of released pipelines, and the parts of one put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxdiff.codecs.latents import Latents
from jaxdiff.codecs.pixels import Pixels
from jaxdiff.conditioning import encoders
from jaxdiff.conditioning.encoders import TextEncoder, ZeroTokens
from jaxdiff.networks.unet import UNet
from jaxdiff.pipelines.parts import Parts, frame_factor
from jaxdiff.pipelines.schedulers import Scheduler
from jaxdiff.tasks import students
from jaxdiff.tasks.model import Model
from jaxdiff.tasks.sampling_options import Options
from jaxdiff.weights.devices import Devices

T5_TOKENS = 256
"""The number of T5's tokens that Stable Diffusion 3 reads."""


@dataclass(frozen=True)
class Family:
    """A kind of pipeline.

    Attributes:
        name: in diffusers.
        encoders: the folders of its text encoders; `network`, that of its network.
        options: of the CLIPs' settings: which states are read.
        t5: options of T5: its window, and how prompts and the padding are read.
        size: of latents, where the network's own config does not say.
        steps, guidance_scale: how samples are drawn by default.
        fixed: whether only pictures of one size can be drawn.
        forced: fields of the scheduler that hold whatever its file says.
    """

    name: str
    encoders: tuple[str, ...]
    network: str = "unet"
    options: Sequence[tuple[str, Any]] = ()
    t5: Sequence[tuple[str, Any]] = ()
    size: tuple[int, ...] = ()
    steps: int = 50
    guidance_scale: float = 7.5
    fixed: bool = False
    forced: Sequence[tuple[str, Any]] = ()


PENULTIMATE = (("clip_skip", 1), ("final_norm", False))

SD = Family(
    "StableDiffusion",
    ("text_encoder",),
    # The pipeline there corrects both fields of old files.
    forced=(("steps_offset", 1), ("clip_sample", False)),
)
LCM = Family(
    "LatentConsistencyModel",
    ("text_encoder",),
    steps=4,
    guidance_scale=8.5,
    forced=(("clip_sample", False),),
)
SDXL = Family(
    "StableDiffusionXL",
    ("text_encoder", "text_encoder_2"),
    options=PENULTIMATE,
    guidance_scale=5.0,
)
SD3 = Family(
    "StableDiffusion3",
    ("text_encoder", "text_encoder_2", "text_encoder_3"),
    network="transformer",
    options=PENULTIMATE,
    # Trained with the padding read as text.
    t5=(("window", T5_TOKENS), ("attend_padding", True)),
    steps=28,
    guidance_scale=7.0,
)
PIXART = [
    Family(
        name,
        ("text_encoder",),
        network="transformer",
        t5=(("window", window), ("cleaning", "lowercase")),
        steps=20,
        guidance_scale=4.5,
    )
    for name, window in (("PixArtAlpha", 120), ("PixArtSigma", 300))
]
WAN = Family(
    "Wan",
    ("text_encoder",),
    network="transformer",
    t5=(("window", 512), ("cleaning", "spaces"), ("zero_padding", True)),
    size=(21, 60, 104),
    guidance_scale=5.0,
)
WAN_IMAGE = replace(WAN, name="WanImageToVideo")
DIT = Family("DiT", (), network="transformer", guidance_scale=4.0, fixed=True)
DDPM = Family("DDPM", (), steps=1000, guidance_scale=1.0, fixed=True)
DDIM = Family("DDIM", (), guidance_scale=1.0, fixed=True)
ADM = Family("GuidedDiffusion", (), steps=250, guidance_scale=1.0, fixed=True)
CONSISTENCY = Family("ConsistencyModel", (), steps=1, guidance_scale=1.0, fixed=True)
ALONE = (*PIXART, WAN, WAN_IMAGE, DIT, DDPM, DDIM, CONSISTENCY)
TASKS = ("", "Img2Img", "Inpaint")

FAMILIES = {f"{each.name}{task}Pipeline": each for each in (SD, SDXL, SD3) for task in TASKS}
"""Families by the names of their pipelines in diffusers, which has one for each use."""

FAMILIES["StableDiffusionDepth2ImgPipeline"] = SD
FAMILIES |= {f"LatentConsistencyModel{task}Pipeline": LCM for task in TASKS[:2]}
FAMILIES |= {f"{each.name}Pipeline": each for each in ALONE}


def joined(family: Family, each: list[TextEncoder | None], network: Any, *, zero_null: bool) -> Any:
    """Returns the text encoder of a pipeline, of those of its parts; None where there is none.

    With `zero_null`, zeros stand for the empty prompt. Of Stable Diffusion 3, T5 may be absent.
    """
    if len(each) <= 1:
        return each[0] if each else None
    if family is SDXL:
        return encoders.SDXL(*each, zero_null=zero_null)
    clip_l, bigg, t5 = each
    absent = ZeroTokens(T5_TOKENS, network.inputs.text_features)
    return encoders.SD3(clip_l, bigg, absent if t5 is None else t5)


def together(
    family: Family,
    network: Any,
    scheduler: Scheduler,
    codec: Latents | Pixels,
    text: Any,
    sources: Mapping[str, Any],
    side: tuple[int, ...],
    devices: Devices,
) -> Parts:
    """Returns the parts of a pipeline; `side` is the size of its latents."""
    factor, frames, channels = 1, 1, network.out_channels
    if isinstance(codec, Latents):
        settings = codec.network.settings
        factor, channels = settings.factor, settings.image_channels
        frames = frame_factor(codec)
    # What the network itself divides its input by.
    inner = 2 ** (len(network.channels) - 1) if isinstance(network, UNet) else network.patch[-1]
    solver = scheduler.solver
    return Parts(
        family=family.name,
        model=Model(
            network,
            scheduler.process,
            scheduler.parameterization,
            scheduler.input_scaling,
            scheduler.time_input,
        ),
        codec=codec,
        text=text,
        sources=sources,
        options=Options(
            solver=solver,
            timesteps=scheduler.timesteps,
            steps=family.steps,
            guidance=scheduler.guidance,
            guidance_scale=family.guidance_scale,
            batch_size=4,
        ),
        size=(*((n - 1) * frames + 1 for n in side[:-2]), side[-2] * factor, side[-1] * factor),
        multiple=factor * inner,
        fixed=family.fixed,
        channels=channels,
        devices=devices,
        learns=CONSISTENT.get(solver, students.DENOISER),
    )


CONSISTENT = dict.fromkeys(("LCM", "Consistency"), students.CONSISTENCY)
"""What a model has learned, by the solver that its scheduler names."""
