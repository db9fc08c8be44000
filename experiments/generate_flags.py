"""What the flags of generate.py say: sizes, pictures, classes, maps, regions."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cli
import numpy as np
from PIL import Image

from jaxdiff.data import images

PLAYING = (".gif", ".mp4")
"""The files of clips."""


def size_of(text: str | None) -> tuple[int, int] | None:
    """Returns height and width of "768x512", which is width by height."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"size={text!r}: write width and height in pixels, 768x512")
    return int(height), int(width)


def picture_of(name: str, path: str | None, channels: int, size: tuple[int, int] | None) -> Any:
    """Returns an image [h, w, c] in [-1, 1], resized where --size asks for it."""
    if path is None:
        return None
    if not Path(path).is_file():
        raise ValueError(f"{name}={path!r}: there is no such file")
    pixels = images.decode(Path(path), channels, path)
    if size and pixels.shape[:2] != size:
        resized = images.to_pillow(pixels).resize(size[::-1], Image.Resampling.LANCZOS)
        pixels = images.from_pillow(resized)
    return pixels.astype(np.float32) / 127.5 - 1


def clip_size(
    usual: tuple[int, ...], size: tuple[int, int] | None, frames: int | None, out: Path
) -> tuple[int, ...] | None:
    """Returns the size of pictures, or of clips with their frames in front.

    Raises:
        ValueError: the model's kind does not fit the flags.
    """
    clips = len(usual) > 2
    if frames is not None and not clips:
        raise ValueError(f"frames={frames}: the model draws pictures, not clips")
    if clips != (out.suffix in PLAYING):
        raise ValueError(f"out={out}: the model draws {'clips, .gif or .mp4' if clips else '.png'}")
    return (frames or usual[0], *(size or usual[1:])) if clips else size


def labels_of(text: str, num: int) -> list[int]:
    """Returns a class for each of `num` pictures.

    Raises:
        ValueError: they are no numbers, or not as many.
    """
    try:
        labels = [int(each) for each in str(text).split(",")]
    except ValueError:
        raise ValueError(f"label={text!r} must be numbers of classes, such as 207,360") from None
    if len(labels) not in (1, num):
        raise ValueError(f"label={text!r} has {len(labels)} classes for num={num} pictures")
    return labels * (num // len(labels))


def controls_of(
    given: Mapping[str, Any], size: tuple[int, int] | None
) -> tuple[list[tuple[str, float]], list[Any], list[tuple[float, ...]]]:
    """Returns each ControlNet's path and strength, its map [h, w, 3] and its span of the steps.

    Raises:
        ValueError: the numbers of flags differ, or one cannot be read.
    """
    nets = [cli.weighted("controlnet", each) for each in given["controlnet"] or ()]
    paths, spans = given["control_image"] or (), given["control_steps"] or ()
    if len(paths) != len(nets):
        raise ValueError(f"control_image: {len(paths)} for {len(nets)} of --controlnet")
    if len(spans) not in (0, len(nets)):
        raise ValueError(f"control_steps: {len(spans)} for {len(nets)} of --controlnet")
    maps = [picture_of("control_image", path, 3, size) for path in paths]
    return nets, maps, [cli.span(each) for each in spans] or [()] * len(nets)


def regions_of(
    given: Mapping[str, Any], size: tuple[int, int] | None
) -> list[tuple[str, Any, float]]:
    """Returns each region's prompt, its mask [h, w] in [0, 1] and its weight.

    Raises:
        ValueError: the numbers of flags differ, or one cannot be read.
    """
    prompts, masks = given["region"] or (), given["region_mask"] or ()
    if len(prompts) != len(masks):
        raise ValueError(f"region_mask: {len(masks)} for {len(prompts)} of --region")
    pairs = [cli.weighted("region_mask", each) for each in masks]
    read = lambda path: (picture_of("region_mask", path, 1, size)[..., 0] + 1) / 2
    return [(text, read(path), w) for text, (path, w) in zip(prompts, pairs, strict=True)]


def table_of(text: str | None) -> Mapping[str, Any]:
    """Returns the fields of a scheduler."""
    if text is None:
        return {}
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"scheduler={text!r} is no table, such as {{'shift': 3.0}}")
    return found
