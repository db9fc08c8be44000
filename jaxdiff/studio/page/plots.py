"""The panel of X/Y/Z plots."""

from collections.abc import Iterator
from typing import Any

import gradio

from jaxdiff.studio import pixels, plots
from jaxdiff.studio.page.parts import buttons, request_of, settings, sheet, visitor
from jaxdiff.studio.service.jobs import CancelledError, Job
from jaxdiff.studio.service.studio import Studio

NOTHING = "nothing"


def panel(studio: Studio) -> None:
    """X/Y/Z plot: pictures for all combinations of values."""
    fields = [NOTHING, *plots.FIELDS, plots.SEARCH]
    with gradio.Row():
        with gradio.Column():
            chosen = settings(studio)
            axes = []
            for name, field, text in (
                ("X", "steps", "2, 4, 8"),
                ("Y", "seed", "0-2"),
                ("Z", NOTHING, ""),
            ):
                with gradio.Row():
                    axes.append(gradio.Dropdown(fields, value=field, label=f"{name}: field"))
                    axes.append(gradio.Textbox(text, label=f"{name}: values"))
            draw = buttons(studio)
        with gradio.Column():
            sheets = sheet("Sheets", 1)
            line = gradio.Markdown("")
            with gradio.Accordion("The same in Python", open=False):
                python = gradio.Code(label="Python", language="python", interactive=False)

    def run(*values: Any) -> Iterator[tuple[Any, ...]]:
        found = chosen.read(values[len(axes) :])
        pairs = zip(values[: len(axes) : 2], values[1 : len(axes) : 2], strict=True)
        yield from plotted(studio, found, [pair for pair in pairs if pair[0] != NOTHING])

    draw.click(run, [*axes, *chosen.inputs], [sheets, line, python])


def plotted(
    studio: Studio, values: dict[str, Any], pairs: list[tuple[str, str]]
) -> Iterator[tuple[Any, ...]]:
    """Draws a plot as one job; yields sheets, a line of text, and Python.

    Raises:
        gradio.Error: an axis is unknown, or there are too many pictures.
    """
    try:
        axes = [plots.axis(*pair) for pair in pairs]
        request = request_of(studio, values)
        count = len(plots.combinations(request, axes))
        path = str(studio.paths.get(values["model"], values["model"]))
        code = plots.code(request, axes, path)
        done: list[Any] = []

        def work(job: Job) -> Any:
            def draw(one: Any, model: str | None) -> Any:
                if job.stopped:
                    raise CancelledError("interrupted")
                name = model or values["model"]
                picture = studio.draw(one, name, save=False, job=job)[0]
                done.append(picture)
                return pixels.array_of(picture.image)

            return plots.plot(request, axes, draw)

        job = studio.worker.submit(Job(work, visitor(), limit=studio.limits.seconds))
        while not job.finished.wait(0.2):
            yield gradio.skip(), f"picture {len(done)} of {count}", code
        sheets = job.wait()
    except (ValueError, RuntimeError, OSError) as error:
        raise gradio.Error(str(error)) from None
    yield sheets, f"{count} pictures", code
