"""The panel of clips: from a prompt or a picture, with a player and a strip of their frames."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlencode

import gradio
from PIL import Image

from jaxdiff.studio import clips, pixels
from jaxdiff.studio.page.parts import buttons, line_of, picture, request_of, settings, visitor
from jaxdiff.studio.service.jobs import Job
from jaxdiff.studio.service.studio import Studio


def panel(studio: Studio) -> None:
    """Video: clips of a run, or of a released model."""
    with gradio.Row():
        with gradio.Column():
            chosen = settings(studio, sizes=False)
            frames = gradio.Number(0, label="Frames (0: the model's own)", precision=0)
            with gradio.Accordion("Begin with a picture", open=False):
                first = gradio.Image(label="First frame", type="pil", image_mode="RGB")
            draw = buttons(studio)
        with gradio.Column():
            player = gradio.HTML("", label="Clips")
            strip = picture("Frames, a clip a row", show_label=False)
            line = gradio.Markdown("")
            with gradio.Accordion("The same in Python, and as a command", open=False):
                python = gradio.Code(label="Python", language="python", interactive=False)
                command = gradio.Code(label="Command", language="shell", interactive=False)

    def run(image: Any, number: Any, *values: Any) -> Iterator[tuple[Any, ...]]:
        yield from drawn(studio, chosen.read(values), image, int(number or 0) or None)

    draw.click(run, [first, frames, *chosen.inputs], [player, strip, line, python, command])


def drawn(
    studio: Studio, values: dict[str, Any], image: Image.Image | None, frames: int | None
) -> Iterator[tuple[Any, ...]]:
    """Draws clips in the queue; yields players, a strip, a line of text, Python and command.

    Raises:
        gradio.Error: the model draws no clips, or none like these.
    """
    try:
        source = studio.source(values["model"])
        if not isinstance(source, clips.Source):
            raise ValueError(f"{values['model']!r} draws no clips")
        count = source.clip_shape(frames)[0]
        request = request_of(studio, values, image=_first(source, image))
        if count * request.num > studio.limits.frames:
            raise ValueError(
                f"{request.num} clips of {count} frames; at most {studio.limits.frames} frames"
            )
        studio.limits.check(request, source.defaults["size"])
        code = clips.code(source, request, frames)

        def work(job: Job) -> Any:
            found = clips.drawn(source, request, frames, studio.watched(source, job))
            finished = clips.finished(found, studio.finish)
            return clips.saved(studio.folders, finished), clips.strips(finished)

        job = studio.worker.submit(Job(work, visitor(), limit=studio.limits.seconds))
        while not job.finished.wait(0.2):
            yield gradio.skip(), gradio.skip(), line_of(job), *code
        names, sheet = job.wait()
    except (ValueError, RuntimeError, OSError, ModuleNotFoundError) as error:
        raise gradio.Error(str(error)) from None
    yield players(names), Image.fromarray(sheet), ", ".join(names), *code


def players(names: list[str]) -> str:
    """Returns players of clips in the output folder, which the route /view serves."""
    found = []
    for name in names:
        path = PurePosixPath(name)
        query = {"filename": path.name, "subfolder": str(path.parent), "type": "output"}
        found.append(
            f'<video controls loop autoplay muted playsinline aria-label="{path.name}"'
            f' style="max-width:100%" src="view?{urlencode(query)}"></video>'
        )
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(found)}</div>'


def _first(source: clips.Source, image: Image.Image | None) -> Any:
    if image is None:
        return None
    height, width = source.clip_shape()[1:3]
    return pixels.array_of(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
