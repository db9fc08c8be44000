"""Transforms of examples, as in configs: `"Resize(size=64)"`, `"RandomFlip"`.

They act on `x`, an image uint8 [h, w, c] or a clip [frames, h, w, c], where all frames are treated
alike. `shape` maps the shape before to the shape after, with None for a side that varies from
image to image. The pipeline maps to [-1, 1] after the last transform. `Caption` makes a text,
`ControlMap` a map for a control network, `ControlMaps` several.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from grain import transforms as grain
from jaxtyping import UInt8
from PIL import Image

from jaxdiff.data.images import from_pillow, to_pillow
from jaxdiff.data.maps import ControlMap, ControlMaps
from jaxdiff.options import Between, Filled, Share, Width, checked

__all__ = [
    "RGB",
    "Caption",
    "CaptionLine",
    "CenterCrop",
    "ControlMap",
    "ControlMaps",
    "Grayscale",
    "RandomCrop",
    "RandomFlip",
    "Resize",
    "ResizeCrop",
]  # fmt: skip

Shape = tuple[int | None, ...]
Method = Literal["lanczos", "bicubic", "bilinear", "box", "hamming", "nearest"]
Size = Width | Annotated[Sequence[Width], Filled(2)]
"""The side of a square, or (height, width)."""

KIND = grain.Map | grain.RandomMap
"""The kind of objects that the names of this module build."""


@checked
@dataclass(frozen=True)
class Resize(grain.Map):
    """Resizes with antialiasing: the shorter side to `size`, or to exactly (height, width).

    `method` is one of Pillow's: "lanczos", "bicubic", "bilinear", "box", "hamming", "nearest".
    """

    size: Size
    method: Method = "lanczos"

    def shape(self, before: Shape) -> Shape:
        """Returns the shape after the transform."""
        *frames, height, width, channels = _image(self, before)
        if not isinstance(self.size, int):
            return (*frames, *self.size, channels)
        if height is None or width is None:
            return (*frames, None, None, channels)
        scale = self.size / min(height, width)
        return (*frames, round(height * scale), round(width * scale), channels)

    def map(self, element: dict) -> dict:
        """Resizes one example."""
        *_, height, width, _ = self.shape(element["x"].shape)
        if (height, width) == element["x"].shape[-3:-1]:
            return element
        method = Image.Resampling[self.method.upper()]
        resize = lambda image: image.resize((width, height), method)
        return {**element, "x": _each_frame(resize, element["x"])}


@checked
@dataclass(frozen=True)
class CenterCrop(grain.Map):
    """Crops the centre."""

    size: Size

    def shape(self, before: Shape) -> Shape:
        """Returns the shape after the transform.

        Raises:
            ValueError: the crop is larger than the image.
        """
        return _cropped(self, before)

    def map(self, element: dict) -> dict:
        """Crops one example."""
        x = element["x"]
        *_, height, width, _ = self.shape(x.shape)
        top, left = (x.shape[-3] - height) // 2, (x.shape[-2] - width) // 2
        return {**element, "x": x[..., top : top + height, left : left + width, :]}


@checked
@dataclass(frozen=True)
class RandomCrop(grain.RandomMap):
    """Crops at a uniformly random place, after padding each side with `padding` black pixels."""

    size: Size
    padding: Annotated[int, Between(0, 65536)] = 0

    def shape(self, before: Shape) -> Shape:
        """Returns the shape after the transform.

        Raises:
            ValueError: the crop is larger than the image.
        """
        return _cropped(self, before, self.padding)

    def random_map(self, element: dict, rng: np.random.Generator) -> dict:
        """Crops one example."""
        *_, height, width, _ = self.shape(element["x"].shape)
        x = _padded(element["x"], self.padding)
        top = rng.integers(x.shape[-3] - height + 1)
        left = rng.integers(x.shape[-2] - width + 1)
        return {**element, "x": x[..., top : top + height, left : left + width, :]}


@checked
@dataclass(frozen=True)
class RandomFlip(grain.RandomMap):
    """Flips left and right with a probability."""

    probability: Share = 0.5

    def shape(self, before: Shape) -> Shape:
        """Returns the shape after the transform."""
        return _image(self, before)

    def random_map(self, element: dict, rng: np.random.Generator) -> dict:
        """Flips one example, or returns it unchanged."""
        flip = rng.random() < self.probability
        return {**element, "x": element["x"][..., ::-1, :]} if flip else element


@checked
@dataclass(frozen=True)
class Grayscale(grain.Map):
    """Converts to one channel of luma (ITU-R BT.601), as Pillow does."""

    def shape(self, before: Shape) -> Shape:
        """Returns the shape after the transform."""
        return (*_image(self, before)[:-1], 1)

    def map(self, element: dict) -> dict:
        """Converts one example."""
        return {**element, "x": _each_frame(lambda image: image.convert("L"), element["x"])}


@checked
@dataclass(frozen=True)
class RGB(grain.Map):
    """Converts to three channels; drops an alpha channel."""

    def shape(self, before: Shape) -> Shape:
        """Returns the shape after the transform."""
        return (*_image(self, before)[:-1], 3)

    def map(self, element: dict) -> dict:
        """Converts one example."""
        return {**element, "x": _each_frame(lambda image: image.convert("RGB"), element["x"])}


@checked
@dataclass(frozen=True)
class ResizeCrop(grain.RandomMap):
    """Resizes the shorter side to `size`, crops a square, adds "size" (Podell et al. 2023, 2.2).

    "size" holds six numbers: height and width of the original, top and left of the crop, height and
    width of the result. The crop is central, or with `random` uniformly random.
    """

    size: Width
    random: bool = False
    method: Method = "lanczos"

    def shape(self, before: Shape) -> Shape:
        """Returns the shape after the transform."""
        *frames, _, _, channels = _image(self, before)
        return (*frames, self.size, self.size, channels)

    def random_map(self, element: dict, rng: np.random.Generator) -> dict:
        """Resizes and crops one example."""
        original = element["x"].shape[-3:-1]
        x = self._resize.map(element)["x"]
        room = [side - self.size for side in x.shape[-3:-1]]
        top, left = (rng.integers(n + 1) if self.random else n // 2 for n in room)
        x = x[..., top : top + self.size, left : left + self.size, :]
        sizes = np.array([*original, top, left, self.size, self.size], np.float32)
        return {**element, "x": x, "size": sizes}

    @property
    def _resize(self):
        return Resize(self.size, self.method)


@checked
@dataclass(frozen=True)
class Caption(grain.RandomMap):
    """Makes a text from the class name and a template such as "a photo of a {}".

    Attributes:
        template: the text, with {} for the class name; of several templates one is drawn uniformly.
        class_names: the name of each class; by default the source's.
        field: the example's field that holds the text.

    Raises:
        ValueError: a template has no {}, or the data have no classes.
    """

    template: str | Sequence[str] = "{}"
    class_names: Sequence[str] | None = None
    field: Annotated[str, Filled()] = "text"

    def __post_init__(self):
        if bad := [template for template in self._templates if "{}" not in template]:
            raise ValueError(f"Caption: template={bad[0]!r} has no {{}} for the class name")
        if self.class_names is None:
            raise ValueError("Caption: the data have no classes; give class_names, or other data")

    def random_map(self, element: dict, rng: np.random.Generator) -> dict:
        """Adds the text to one example."""
        templates = self._templates
        template = templates[rng.integers(len(templates))] if len(templates) > 1 else templates[0]
        name = self.class_names[element["label"]]
        return {**element, self.field: template.replace("{}", str(name))}

    @property
    def _templates(self):
        return (self.template,) if isinstance(self.template, str) else tuple(self.template)


@checked
@dataclass(frozen=True)
class CaptionLine(grain.RandomMap):
    """Draws one line of a text, uniformly: of a caption with other words for the same below it."""

    field: Annotated[str, Filled()] = "text"

    def random_map(self, element: dict, rng: np.random.Generator) -> dict:
        """Keeps one line of the text of one example.

        Raises:
            ValueError: the example has no such text.
        """
        if not isinstance(element.get(self.field), str):
            raise ValueError(
                f"CaptionLine.field: examples have {sorted(element)}, no {self.field!r}"
            )
        lines = element[self.field].splitlines() or [""]
        return {**element, self.field: lines[rng.integers(len(lines))].strip()}


def _image(transform: grain.Map | grain.RandomMap, shape: Shape) -> Shape:
    if len(shape) not in (3, 4):
        raise ValueError(f"{transform}: works on images [h, w, c] and clips, not on {shape}")
    return shape


def _each_frame(
    function: Callable[[Image.Image], Image.Image], x: UInt8[np.ndarray, "*frames h w c"]
) -> UInt8[np.ndarray, "*frames H W C"]:
    if x.ndim == 3:
        return from_pillow(function(to_pillow(x)))
    return np.stack([_each_frame(function, frame) for frame in x])


def _padded(
    x: UInt8[np.ndarray, "*frames h w c"], padding: int
) -> UInt8[np.ndarray, "*frames H W c"]:
    none, sides = ((0, 0),), ((padding, padding),) * 2
    return np.pad(x, none * (x.ndim - 3) + sides + none)


def _cropped(transform: CenterCrop | RandomCrop, before: Shape, padding: int = 0) -> Shape:
    sides = (transform.size,) * 2 if isinstance(transform.size, int) else tuple(transform.size)
    *frames, height, width, channels = _image(transform, before)
    room = [None if side is None else side + 2 * padding for side in (height, width)]
    if any(have is not None and have < side for have, side in zip(room, sides, strict=True)):
        raise ValueError(
            f"{transform}: larger than the image of {height}x{width}; crop less or resize before"
        )
    return (*frames, *sides, channels)
