"""Maps that steer a picture, made of a scene's truth or of its pixels."""

import colorsys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from einops import rearrange, reduce, repeat
from grain import transforms as grain
from jaxtyping import Float, Int, UInt8

from jaxdiff.options import Depth, checked

Kind = Literal["edges", "lines", "segments", "depth", "masks", "grey", "low_resolution"]
Values = Float[np.ndarray, "h w c"]

OF_TRUTH = {"edges": "edges", "segments": "segmentation", "depth": "depth", "masks": "masks"}
"""The field of a scene that a map is made of; the others are made of its pixels."""

CHANNELS = {
    "edges": 1, "lines": 1, "segments": 3, "depth": 1, "masks": 4, "grey": 1, "low_resolution": 3,
}  # fmt: skip
DARK = 96
"""The largest value of a colour that is taken for the black of an outline, and fades to it."""

GOLDEN = 0.618034
"""The share of the circle of hues between one class and the next, so that neighbours differ."""


@checked
@dataclass(frozen=True)
class ControlMap(grain.Map):
    """Adds "control", a map [h, w, c] in [0, 1] for a control network.

    Attributes:
        of: "edges", "depth" (1 for the nearest), "masks" (one channel a layer, of four) and
            "segments" (a colour a kind, black for the ground) are of a scene's truth, which has to
            be among the fields of the data ("segmentation" for segments). "lines" are the black
            outlines of drawings, "grey" is the luma, "low_resolution" the means of squares, as
            large as the picture.
        factor: the side of these squares.
    """

    of: Kind
    factor: Depth = 4

    def map(self, element: dict) -> dict:
        """Adds the map to one example.

        Raises:
            ValueError: the example lacks the field that the map is made of.
        """
        field = OF_TRUTH.get(self.of, "x")
        if field not in element:
            raise ValueError(
                f"ControlMap.of={self.of!r}: examples have {sorted(element)}, no {field!r}"
            )
        return {**element, "control": self.values(element[field])}

    def values(self, found: Any) -> Values:
        """Returns the map of a field's value: of a truth, or of pixels uint8 [h, w, 3]."""
        match self.of:
            case "edges" | "depth":
                return np.asarray(found, np.float32)[..., None]
            case "masks":
                return rearrange(np.asarray(found, np.float32), "layers h w -> h w layers")
            case "segments":
                return colored(found)
            case "lines":
                return lines(found)
            case "grey":
                return (found @ np.float32([0.299, 0.587, 0.114]) / 255)[..., None].astype(
                    np.float32
                )
            case "low_resolution":
                return squares(found, self.factor)


def colored(classes: Int[np.ndarray, "h w"]) -> Values:
    """Returns a colour for each class, and black for 0."""
    hues = [colorsys.hsv_to_rgb(i * GOLDEN % 1, 1.0 - 0.5 * (i % 2), 1.0) for i in range(256)]
    palette = np.array([(0.0, 0.0, 0.0), *hues[1:]], np.float32)
    return palette[classes]


def lines(pixels: UInt8[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w 1"]:
    """Returns the black outlines of a drawing: 1 on them, fading to 0."""
    brightest = pixels.max(-1, keepdims=True).astype(np.float32)
    return np.clip(1 - brightest / DARK, 0, 1)


def squares(pixels: UInt8[np.ndarray, "h w c"], factor: int) -> Values:
    """Returns the mean of each square of pixels, over the whole of it.

    Raises:
        ValueError: the squares do not divide the picture.
    """
    height, width, _ = pixels.shape
    if height % factor or width % factor:
        raise ValueError(f"factor={factor} does not divide the {height}x{width} pixels")
    sides = {"p": factor, "q": factor}
    means = reduce(pixels.astype(np.float32) / 255, "(h p) (w q) c -> h w c", "mean", **sides)
    return repeat(means, "h w c -> (h p) (w q) c", **sides)
