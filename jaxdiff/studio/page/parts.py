"""Parts that panels share: the settings of a request, and drawing that shows its progress."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio
import numpy as np
from gradio.context import LocalContext
from PIL import Image

from jaxdiff.studio import pixels, wildcards
from jaxdiff.studio.graph.names import OWN
from jaxdiff.studio.requests import Request
from jaxdiff.studio.service import previews
from jaxdiff.studio.service.studio import Studio

OWN_CHOICE = "the model's own"
SIDE = 256
"""Pixels on the shorter side below which pictures are shown larger."""


@dataclass(frozen=True)
class Settings:
    """The components of a request's settings, in the order of `names`."""

    components: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Returns their names."""
        return tuple(self.components)

    @property
    def inputs(self) -> list[Any]:
        """Returns them as the inputs of an event."""
        return list(self.components.values())

    def read(self, values: Any) -> dict[str, Any]:
        """Returns the values of an event by their names."""
        return dict(zip(self.names, values, strict=True))


def settings(studio: Studio, *, sizes: bool = True) -> Settings:
    """Makes the components of a request's settings."""
    found: dict[str, Any] = {}
    names = studio.names()
    found["model"] = gradio.Dropdown(names, value=studio.chosen or None, label="Model")
    found["prompt"] = gradio.Textbox(label="Prompt", lines=2, placeholder=_hint(studio))
    found["negative"] = gradio.Textbox(label="Negative prompt", lines=1)
    found["style"] = gradio.Textbox(
        label="Style", lines=1, placeholder="words around the prompt: an oil painting of {prompt}"
    )
    with gradio.Row():
        found["seed"] = gradio.Number(0, label="Seed (-1: a new one)", precision=0)
        found["num"] = gradio.Slider(1, 16, value=1, step=1, label="Pictures")
    with gradio.Row():
        # An empty field is 0 for the page, and 0 the model's own.
        found["steps"] = gradio.Number(0, label=f"Steps (0: {OWN_CHOICE})", precision=0)
        found["guidance_scale"] = gradio.Number(0, label=f"Guidance scale (0: {OWN_CHOICE})")
    with gradio.Accordion("More", open=False):
        found["solver"] = gradio.Dropdown([OWN_CHOICE, *OWN], value=OWN_CHOICE, label="Solver")
        found["timesteps"] = gradio.Textbox(
            label="Timesteps", placeholder="Karras(sigma_min=0.03, sigma_max=14.6)"
        )
        if sizes:
            with gradio.Row():
                found["width"] = gradio.Number(0, label="Width (0: its own)", precision=0)
                found["height"] = gradio.Number(0, label="Height (0: its own)", precision=0)
    return Settings(found)


def _hint(studio: Studio) -> str:
    opened = studio.chosen and studio.source()
    classes = opened.defaults.get("classes", ()) if opened else ()
    return f"a class: {', '.join(classes)}" if classes else "a red cat, {on|under} a table"


def request_of(studio: Studio, values: Mapping[str, Any], **more: Any) -> Request:
    """Returns the request of a panel's values; its wildcards are drawn by its seed.

    Raises:
        ValueError: a value is out of range.
    """
    seed = int(values.get("seed") or 0)
    seed = int(time.time_ns() % 2**31) if seed < 0 else seed
    words = lambda text: wildcards.drawn(text or "", seed, studio.folders.root / "wildcards")
    width, height = (int(values.get(name) or 0) for name in ("width", "height"))
    solver = values.get("solver")
    steps, scale = values.get("steps"), values.get("guidance_scale")
    return Request(
        prompt=wildcards.styled(words(values.get("prompt")), words(values.get("style"))),
        negative=words(values.get("negative")),
        seed=seed,
        num=int(values.get("num") or 1),
        steps=int(steps) if steps else None,
        guidance_scale=float(scale) if scale else None,
        solver=None if solver in (None, OWN_CHOICE) else solver,
        timesteps=(values.get("timesteps") or "").strip() or None,
        size=(height, width) if width and height else None,
        **more,
    )


def shown(picture: Any) -> Image.Image:
    """Returns a picture [h, w, c] in [-1, 1] for the page; small ones are made larger."""
    return enlarged(pixels.picture_of(picture))


def enlarged(image: Image.Image) -> Image.Image:
    """Returns a picture for the page; small ones are made larger by a whole factor."""
    scale = max(1, round(SIDE / min(image.size)))
    return image.resize([n * scale for n in image.size], Image.Resampling.NEAREST)


def drawn(studio: Studio, request: Request, model: str | None) -> Iterator[tuple[Any, ...]]:
    """Draws in the queue; yields pictures, a line of text, Python and command, as they change.

    Raises:
        gradio.Error: the request cannot be done.
    """
    try:
        python, command = studio.source(model).code(request)
        job = studio.submit(request, model=model, client=visitor())
        start = time.perf_counter()
        while not job.finished.wait(0.2):
            yield _preview(studio, job), line_of(job), python, command
        pictures = job.wait()
    except (ValueError, RuntimeError, OSError) as error:
        raise gradio.Error(str(error)) from None
    seconds = time.perf_counter() - start
    files = ", ".join(each.file for each in pictures if each.file)
    images = [(enlarged(each.image), each.text) for each in pictures]
    state = "interrupted after" if job.stopped else "drawn in"
    yield images, f"{state} {seconds:.2f} s: {files}", python, command


def visitor() -> str:
    """Returns the browser's tab whose event is handled, as a client of the queue."""
    asked = LocalContext.request.get(None)
    return f"page {getattr(asked, 'session_hash', None) or ''}".strip()


def line_of(job: Any) -> str:
    """Returns how far a job is."""
    if job.state == "waiting":
        return "waiting"
    return f"step {job.step} of {job.steps}" if job.steps else "opening or compiling"


def _preview(studio: Studio, job: Any) -> Any:
    if job.preview is None:
        return gradio.skip()
    x0 = np.asarray(job.preview, np.float32)
    found = studio.preview_map(x0.shape[-1])
    if found is None and x0.shape[-1] not in (1, 3):
        return gradio.skip()
    return [(shown(each), "preview") for each in previews.colours(x0, found)]


def sheet(label: str, columns: int, **options: Any) -> Any:
    """Makes a gallery that shows pictures; none of its buttons sends them to another site."""
    shows = ["download", "download_all", "fullscreen"]
    return gradio.Gallery(label=label, columns=columns, format="png", buttons=shows, **options)


def picture(label: str, **options: Any) -> Any:
    """Makes a component that shows a picture; none of its buttons sends it to another site."""
    given = {"buttons": ["download", "fullscreen"], "format": "png", "type": "pil", **options}
    return gradio.Image(label=label, interactive=False, **given)


def results() -> tuple[Any, Any, Any, Any]:
    """Makes the components of what `drawn` yields."""
    gallery = sheet("Pictures", 4, object_fit="contain")
    line = gradio.Markdown("")
    with gradio.Accordion("The same in Python, and as a command", open=False):
        python = gradio.Code(label="Python", language="python", interactive=False)
        command = gradio.Code(label="Command", language="shell", interactive=False)
    return gallery, line, python, command


def buttons(studio: Studio) -> Any:
    """Makes the buttons that draw and interrupt, and returns the first."""
    with gradio.Row():
        draw = gradio.Button("Draw (Ctrl+Enter)", variant="primary", elem_classes=["draws"])
        stop = gradio.Button("Interrupt (Esc)", variant="stop", elem_classes=["stops"])
    stop.click(lambda: studio.worker.interrupt(visitor()), queue=False)
    return draw
