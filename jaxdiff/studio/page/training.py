"""The panel that launches a recipe, and shows its curve and its samples while it trains."""

import shlex
from pathlib import Path
from typing import Any

import gradio
import numpy as np
from PIL import Image, ImageDraw

from jaxdiff.studio import pixels
from jaxdiff.studio.page import parts
from jaxdiff.studio.service.studio import Studio
from jaxdiff.studio.training import Trainings, recipes

EVERY = 3.0
"""Seconds between looks at a training."""


def panel(studio: Studio) -> None:
    """Train: a recipe of the package, in a process of its own."""
    trainings = Trainings(Path("runs"))
    with gradio.Row():
        with gradio.Column():
            recipe = gradio.Dropdown(
                recipes(), value="digits", label="Recipe (a variant after a colon: digits:edm)",
                allow_custom_value=True,
            )  # fmt: skip
            name = gradio.Textbox("studio_run", label="Name: its folder below runs")
            changes = gradio.Textbox(
                "train.steps=200", label="Fields, one a line, such as batch_size=64", lines=3
            )
            with gradio.Row():
                start = gradio.Button("Train, or resume", variant="primary")
                stop = gradio.Button("Stop, with a checkpoint", variant="stop")
            command = gradio.Code(label="Command", language="shell", interactive=False)
        with gradio.Column():
            line = gradio.Markdown("")
            curve = parts.picture("Loss")
            samples = parts.picture("Samples")
            log = gradio.Textbox(label="Log", lines=6)

    def launch(chosen: str, folder: str, fields: str) -> str:
        try:
            each = [text.strip() for text in fields.splitlines() if text.strip()]
            return shlex.join(trainings.launch(chosen, folder, each))
        except ValueError as error:
            raise gradio.Error(str(error)) from None

    def look(folder: str) -> tuple[Any, ...]:
        try:
            text, metrics, grid = trainings.state(folder)
        except ValueError:
            return gradio.skip(), gradio.skip(), gradio.skip(), gradio.skip()
        steps = [each["step"] for each in metrics if "loss" in each]
        losses = [each["loss"] for each in metrics if "loss" in each]
        state = "trains" if trainings.runs(folder) else "does not train"
        words = f"step {steps[-1]}, loss {losses[-1]:.4g}" if steps else "no step yet"
        image = pixels.opened(grid, grid.name) if grid else None
        return f"{folder} {state}: {words}", curve_of(steps, losses), image, text

    start.click(launch, [recipe, name, changes], command)
    stop.click(trainings.stop, name)
    gradio.Timer(EVERY).tick(look, name, [line, curve, samples, log], show_progress="hidden")


def curve_of(steps: list[int], losses: list[float], size: tuple[int, int] = (480, 240)) -> Any:
    """Returns a curve as a picture; None for fewer than two points."""
    if len(steps) < 2:
        return None
    x, y = np.asarray(steps, float), np.asarray(losses, float)
    low, high = y.min(), max(y.max(), y.min() + 1e-9)
    image = Image.new("RGB", size, "white")
    pen, margin = ImageDraw.Draw(image), 24
    across = margin + (x - x[0]) / max(x[-1] - x[0], 1) * (size[0] - 2 * margin)
    up = size[1] - margin - (y - low) / (high - low) * (size[1] - 2 * margin)
    pen.line(list(zip(across, up, strict=True)), fill=(45, 90, 170), width=2)
    pen.text((4, 4), f"{high:.4g}", fill="black")
    pen.text((4, size[1] - 16), f"{low:.4g}", fill="black")
    pen.text((size[0] - 80, size[1] - 16), f"step {steps[-1]}", fill="black")
    return image
