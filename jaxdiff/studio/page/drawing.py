"""The panels that draw: from text, from an image, and under a brush's mask."""

from collections.abc import Iterator
from typing import Any

import gradio
import numpy as np
from PIL import Image

from jaxdiff.studio import pixels
from jaxdiff.studio.page.parts import buttons, drawn, request_of, results, settings
from jaxdiff.studio.service.studio import Studio


def text_panel(studio: Studio) -> None:
    """Text to image."""
    with gradio.Row():
        with gradio.Column():
            chosen = settings(studio)
            draw = buttons(studio)
        with gradio.Column():
            shown = results()

    def run(*values: Any) -> Iterator[tuple[Any, ...]]:
        found = chosen.read(values)
        yield from drawn(studio, _request(studio, found), found["model"])

    draw.click(run, chosen.inputs, list(shown))


def image_panel(studio: Studio) -> None:
    """Image to image."""
    with gradio.Row():
        with gradio.Column():
            image = gradio.Image(label="Image", type="pil", image_mode="RGB")
            strength = _strength()
            chosen = settings(studio)
            draw = buttons(studio)
        with gradio.Column():
            shown = results()

    def run(start: Any, share: float, *values: Any) -> Iterator[tuple[Any, ...]]:
        if start is None:
            raise gradio.Error("give an image to begin from")
        found = chosen.read(values)
        array = pixels.array_of(fitted(studio, start, found))
        request = _request(studio, found, image=array, strength=float(share))
        yield from drawn(studio, request, found["model"])

    draw.click(run, [image, strength, *chosen.inputs], list(shown))


def paint_panel(studio: Studio) -> None:
    """Inpainting and outpainting: what is brushed over, or beyond the edges, is drawn anew."""
    with gradio.Row():
        with gradio.Column():
            editor = gradio.ImageEditor(label="Brush over what is drawn anew", type="pil")
            with gradio.Accordion("Beyond the edges", open=False), gradio.Row():
                edges = [
                    gradio.Number(0, label=each, precision=0)
                    for each in ("Left", "Top", "Right", "Bottom")
                ]
            strength = _strength(1.0)
            chosen = settings(studio)
            draw = buttons(studio)
        with gradio.Column():
            shown = results()

    def run(
        drawing: Any, left: int, top: int, right: int, bottom: int, share: float, *values: Any
    ) -> Iterator[tuple[Any, ...]]:
        if not drawing or drawing.get("background") is None:
            raise gradio.Error("give an image, and brush over what is drawn anew")
        found = chosen.read(values)
        start, mask = brushed(drawing, [int(n or 0) for n in (left, top, right, bottom)])
        if not mask.any():
            raise gradio.Error("brush over what is drawn anew, or give edges")
        start = fitted(studio, start, found)
        size = start.size
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) > 0
        request = _request(
            studio,
            found,
            image=pixels.array_of(start),
            mask=mask.astype(np.float32),
            strength=None if share >= 1 else float(share),
        )
        yield from drawn(studio, request, found["model"])

    draw.click(run, [editor, *edges, strength, *chosen.inputs], list(shown))


def brushed(drawing: Any, edges: list[int]) -> tuple[Image.Image, np.ndarray]:
    """Returns an editor's picture in its edges, and the mask [h, w] of what is drawn anew."""
    start = drawing["background"].convert("RGB")
    mask = np.zeros(start.size[::-1], np.uint8)
    for layer in drawing.get("layers") or []:
        alpha = np.asarray(layer.convert("RGBA"))[..., 3]
        mask = np.maximum(mask, (alpha > 0).astype(np.uint8) * 255)
    left, top, right, bottom = (max(n, 0) for n in edges)
    wide, high = start.width + left + right, start.height + top + bottom
    whole = Image.new("RGB", (wide, high), (127, 127, 127))
    whole.paste(start, (left, top))
    around = np.full((high, wide), 255, np.uint8)
    around[top : top + start.height, left : left + start.width] = mask
    return whole, around


def fitted(studio: Studio, image: Image.Image, values: dict[str, Any]) -> Image.Image:
    """Returns a picture of the size that a panel asks for, or of the model's."""
    defaults = studio.source(values["model"]).defaults
    height, width = defaults["size"]
    size = (int(values.get("width") or width), int(values.get("height") or height))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _strength(value: float = 0.75) -> Any:
    return gradio.Slider(0.05, 1, value=value, step=0.05, label="Strength: the share of the steps")


def _request(studio: Studio, values: dict[str, Any], **more: Any) -> Any:
    try:
        request = request_of(studio, values, **more)
    except ValueError as error:
        raise gradio.Error(str(error)) from None
    if "image" in more:
        size = more["image"].shape[:2]
        return type(request)(**{**vars(request), "size": size})
    return request
