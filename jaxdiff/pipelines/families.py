"""The kinds of released pipelines, and the parts of one put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxdiff.codecs.latents import Latents
from jaxdiff.conditioning import encoders
from jaxdiff.conditioning.encoders import TextEncoder, ZeroTokens
from jaxdiff.diffusion.preconditioning import Unscaled
from jaxdiff.networks.dit import MMDiT
from jaxdiff.pipelines.parts import Parts
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
        steps, guidance_scale: how samples are drawn by default.
        forced: fields of the scheduler that hold whatever its file says.
    """

    name: str
    encoders: tuple[str, ...]
    network: str = "unet"
    options: Sequence[tuple[str, Any]] = ()
    steps: int = 50
    guidance_scale: float = 7.5
    forced: Sequence[tuple[str, Any]] = ()


PENULTIMATE = (("clip_skip", 1), ("final_norm", False))

SD = Family(
    "StableDiffusion",
    ("text_encoder",),
    # The pipeline there corrects both fields of old files.
    forced=(("steps_offset", 1), ("clip_sample", False)),
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
    steps=28,
    guidance_scale=7.0,
)
TASKS = ("", "Img2Img", "Inpaint")

FAMILIES = {f"{each.name}{task}Pipeline": each for each in (SD, SDXL, SD3) for task in TASKS}
"""Families by the names of their pipelines in diffusers, which has one for each use."""

FAMILIES["StableDiffusionDepth2ImgPipeline"] = SD


def joined(family: Family, each: list[TextEncoder | None], network: Any, *, zero_null: bool) -> Any:
    """Returns the text encoder of a pipeline, of those of its parts.

    With `zero_null`, zeros stand for the empty prompt. Of Stable Diffusion 3, T5 may be absent.
    """
    if family is SD:
        return each[0]
    if family is SDXL:
        return encoders.SDXL(*each, zero_null=zero_null)
    clip_l, bigg, t5 = each
    absent = ZeroTokens(T5_TOKENS, network.inputs.text_features)
    return encoders.SD3(clip_l, bigg, absent if t5 is None else t5)


def together(
    family: Family,
    network: Any,
    scheduler: Scheduler,
    codec: Latents,
    text: Any,
    sources: Mapping[str, Any],
    side: tuple[int, int],
    devices: Devices,
) -> Parts:
    """Returns the parts of a pipeline; `side` is the height and width of its latents."""
    factor = codec.network.settings.factor
    # What the network itself divides its input by.
    inner = network.patch[-1] if isinstance(network, MMDiT) else 2 ** (len(network.channels) - 1)
    process, row, time_input, grid, solver = scheduler
    return Parts(
        family=family.name,
        model=Model(network, process, row, Unscaled(), time_input),
        codec=codec,
        text=text,
        sources=sources,
        options=Options(
            solver=solver,
            timesteps=grid,
            steps=family.steps,
            guidance_scale=family.guidance_scale,
            batch_size=4,
        ),
        size=(side[0] * factor, side[1] * factor),
        multiple=factor * inner,
        devices=devices,
        learns=students.CONSISTENCY if solver == "LCM" else students.DENOISER,
    )
