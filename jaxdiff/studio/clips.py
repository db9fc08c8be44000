"""Clips of a model: from a prompt, or a picture that they begin with; as files and as strips."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxdiff.evaluation import films
from jaxdiff.evaluation.pictures import clip_strips
from jaxdiff.runs.clips import begun
from jaxdiff.studio import pixels
from jaxdiff.studio.folders import Folders
from jaxdiff.studio.own_runs import OfRun
from jaxdiff.studio.provenance import Finish
from jaxdiff.studio.released import Released
from jaxdiff.studio.requests import Request, Watch, flag, sampling_of

SIDE = 256
"""Pixels on the shorter side below which clips are written larger."""

Source = OfRun | Released
Clips = Float[np.ndarray, "n f h w c"]
Frames = UInt8[np.ndarray, "f h w rgb"]


def drawn(
    source: Source, request: Request, frames: int | None = None, watch: Watch | None = None
) -> Clips:
    """Returns clips in [-1, 1]; `request.image` is what they begin with.

    Raises:
        ValueError: the model draws no clips, or none of this number of frames.
    """
    if isinstance(source, Released):
        return source.draw_clips(request, frames, watch)
    run = source.of_frames(frames)
    first: dict[str, Any] = {}
    if request.image is not None:
        picture = pixels.with_channels(np.asarray(request.image), run.shape[-1])
        first = begun(picture, request.num, run.shape)
    negative = source.cond(request.negative) or None
    cond, options = source.cond(request.prompt), sampling_of(request)
    return run.sample(request.num, cond, negative=negative, watch=watch, **first, **options)


def code(source: Source, request: Request, frames: int | None = None) -> tuple[str, str]:
    """Returns the Python, and the command line, that draw the same clips."""
    if isinstance(source, Released):
        return source.code(request, frames)
    named = ("steps", "guidance_scale", "solver", "timesteps", "seed")
    settings = {name: getattr(request, name) for name in named}
    settings = {name: value for name, value in settings.items() if value is not None}
    cond, negative = source.cond(request.prompt), source.cond(request.negative)
    given = "".join(f", {name}={value!r}" for name, value in settings.items())
    given += f", negative={negative!r}" if negative else ""
    given += f", **begun(picture, {request.num}, run.shape)" if request.image is not None else ""
    lines = ["import jaxdiff"]
    lines += ["from jaxdiff.runs.clips import begun"] if request.image is not None else []
    lines += ["from jaxdiff.runs.sizes import resized"] if frames else []
    lines += ["", f"run = jaxdiff.load({str(source.run.folder)!r})"]
    lines += [f"run = resized(run, frames={frames})"] if frames else []
    lines.append(f"clips = run.sample({request.num}, {cond!r}{given})")
    flags = [f"--workdir={source.run.folder}", f"--num={request.num}"]
    flags += [*source.condition_flags(request), *(flag(n, v) for n, v in settings.items())]
    flags += [f"--frames={frames}"] if frames else []
    flags += ["--first_frame=picture.png"] if request.image is not None else []
    return "\n".join(lines), " ".join(["python -m jaxdiff sample", *flags, "--out=clips.mp4"])


def finished(clips: Clips, finish: Finish) -> list[Frames]:
    """Returns the frames of each clip, checked and marked."""
    return [
        np.stack([np.asarray(finish.image(frame).convert("RGB")) for frame in clip])
        for clip in clips
    ]


def saved(folders: Folders, clips: Sequence[Frames], prefix: str = "video/jaxdiff") -> list[str]:
    """Writes each clip as an MP4 in the output folder, and returns their names there."""
    names = folders.fresh("output", prefix, ".mp4", len(clips))
    for name, clip in zip(names, clips, strict=True):
        scale = max(1, round(SIDE / min(clip.shape[1:3])))
        large = clip.repeat(scale, axis=1).repeat(scale, axis=2)
        films.save_mp4(folders.folder("output") / name, list(large))
    return names


def strips(clips: Sequence[Frames]) -> UInt8[np.ndarray, "height width rgb"]:
    """Returns one sheet of clips: a clip a row, its frames from left to right."""
    return clip_strips(np.stack(clips) / np.float32(127.5) - 1)
