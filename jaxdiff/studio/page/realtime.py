"""The panel that redraws at every stroke of a slider or a brush, with a student of few steps."""

import time
from typing import Any

import gradio
import numpy as np
from PIL import Image

from jaxdiff.studio.page import parts
from jaxdiff.studio.service.studio import Studio
from jaxdiff.studio.sources import OfRun


def panel(studio: Studio) -> None:
    """Real time: a class, two noises, and the way between them."""
    names = studio.names()
    students = [name for name in names if "student" in name]
    with gradio.Row():
        with gradio.Column():
            model = gradio.Dropdown(names, value=(students or names or [None])[0], label="Model")
            prompt = gradio.Textbox("0", label="Class or prompt")
            steps = gradio.Slider(1, 8, value=1, step=1, label="Steps")
            first = gradio.Slider(0, 100, value=0, step=1, label="First noise")
            second = gradio.Slider(0, 100, value=1, step=1, label="Second noise")
            between = gradio.Slider(0, 1, value=0, step=0.01, label="Between them")
            gradio.Markdown("Redraws at every move. Sliders: arrow keys.")
        with gradio.Column():
            shown = parts.picture("Picture")
            line = gradio.Markdown("")
            python = gradio.Code(label="Python", language="python", interactive=False)
    inputs = [model, prompt, steps, first, second, between]

    def run(*values: Any) -> tuple[Any, ...]:
        try:
            image, seconds, code = redrawn(studio, *values)
        except (ValueError, OSError) as error:
            return gradio.skip(), f"{error}", gradio.skip()
        return image, f"{1000 * seconds:.0f} ms", code

    shape = {"fn": run, "inputs": inputs, "outputs": [shown, line, python]}
    for each in (first, second, between, steps):
        # Only the newest position counts: those on the way may be left out.
        each.input(**shape, trigger_mode="always_last", queue=False, show_progress="hidden")
    for each in (prompt, model):
        each.change(**shape, trigger_mode="always_last", queue=False, show_progress="hidden")


def redrawn(
    studio: Studio,
    model: str,
    prompt: str,
    steps: float,
    first: float,
    second: float,
    between: float,
) -> tuple[Image.Image, float, str]:
    """Returns a picture, the seconds that it took, and the Python of the same.

    Raises:
        ValueError: the model is no run of ours, or has no such class.
    """
    source = studio.source(model)
    if not isinstance(source, OfRun):
        raise ValueError("real time takes a run of your own, such as a student of few steps")
    start = time.perf_counter()
    noise = mixed(source.run.latent_shape, int(first), int(second), between)
    picture = source.run.sample(1, source.cond(prompt), noise=noise, steps=int(steps))[0]
    seconds = time.perf_counter() - start
    lines = [
        "import jaxdiff",
        "from jaxdiff.studio.page.realtime import mixed",
        "",
        f"run = jaxdiff.load({str(source.run.folder)!r})",
        f"noise = mixed(run.latent_shape, {int(first)}, {int(second)}, {between})",
        f"picture = run.sample(1, {source.cond(prompt)!r}, noise=noise, steps={int(steps)})",
    ]
    return parts.enlarged(studio.finish.image(picture)), seconds, "\n".join(lines)


def mixed(shape: tuple[int, ...], first: int, second: int, share: float) -> np.ndarray:
    """Returns noise [1, ...] on the arc between those of two seeds, of the variance of noise."""
    a, b = (np.random.default_rng(seed).normal(size=shape) for seed in (first, second))
    angle = share * np.pi / 2
    return (np.cos(angle) * a + np.sin(angle) * b)[None].astype(np.float32)
