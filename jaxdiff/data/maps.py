"""Maps that steer a picture, made of a scene's truth or of its pixels."""

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from einops import rearrange, reduce, repeat
from grain import transforms as grain
from jaxtyping import Float, Int, Shaped, UInt8

from jaxdiff.data.edges import luma
from jaxdiff.options import Depth, Filled, Share, checked

Kind = Literal[
    "edges", "lines", "segments", "depth", "key_points", "masks", "grey", "low_resolution"
]
Values = Float[np.ndarray, "h w c"]
Batches = Float[np.ndarray, "*n h w c"]

OF_TRUTH = {
    "edges": "edges", "segments": "segmentation", "depth": "depth", "key_points": "points",
    "masks": "masks",
}  # fmt: skip
"""The field of a scene that a map is made of; the others are made of its pixels."""

CHANNELS = {
    "edges": 1, "lines": 1, "segments": 3, "depth": 1, "key_points": 5, "masks": 4, "grey": 1,
    "low_resolution": 3,
}  # fmt: skip
DARK = 96
"""The largest value of a colour that is taken for the black of an outline, and fades to it."""

SPREAD = 1.5
"""Of a key point: the deviation of its Gaussian, in pixels."""

GOLDEN = 0.618034
"""The share of the circle of hues between one class and the next, so that neighbours differ."""


@checked
@dataclass(frozen=True)
class ControlMap(grain.Map):
    """Adds "control", a map [h, w, c] in [0, 1] for a control network.

    Attributes:
        of: "edges", "depth" (1 for the nearest), "masks" (one channel a layer, of four) and
            "segments" (a colour a kind, black for the ground) are of a scene's truth, which has to
            be among the fields of the data ("segmentation" for segments, "points" for key_points:
            a Gaussian at each visible one, a channel for the centroids and one for each end).
            "lines" are the black outlines of drawings, "grey" is the luma, "low_resolution" the
            means of squares, as large as the picture.
        factor: the side of these squares.
    """

    of: Kind
    factor: Depth = 4

    def map(self, element: dict) -> dict:
        """Adds the map to one example.

        Raises:
            ValueError: the example lacks the field that the map is made of.
        """
        return {**element, "control": self.values(element)}

    def values(self, element: Mapping[str, Any]) -> Values:
        """Returns the map of an example: of a truth, or of its pixels "x", uint8 [h, w, 3].

        Raises:
            ValueError: as in `map`.
        """
        field = OF_TRUTH.get(self.of, "x")
        if field not in element:
            raise ValueError(
                f"ControlMap.of={self.of!r}: examples have {sorted(element)}, no {field!r}"
            )
        make: dict[str, Callable[[Any], Any]] = {
            "edges": one_channel,
            "depth": one_channel,
            "segments": colored,
            "key_points": lambda points: blobs(points, *element["x"].shape[:2]),
            "masks": lambda masks: rearrange(masks, "layers h w -> h w layers"),
            "lines": lines,
            "grey": luma,
            "low_resolution": lambda pixels: squares(pixels, self.factor),
        }
        return make[self.of](element[field]).astype(np.float32)


@checked
@dataclass(frozen=True)
class ControlMaps(grain.RandomMap):
    """Adds "control", several maps side by side, of which an example keeps some; others are zero.

    One control network reads any of them then, alone or together.

    Attributes:
        of: the maps, in the order of their channels, as in `ControlMap`.
        keep: the probability that an example keeps a map.
    """

    of: Annotated[Sequence[Kind], Filled()]
    keep: Share = 0.5

    def random_map(self, element: dict, rng: np.random.Generator) -> dict:
        """Adds the maps to one example.

        Raises:
            ValueError: as in `ControlMap`.
        """
        kept = [kind for kind in self.of if rng.random() < self.keep]
        maps = {kind: ControlMap(kind).values(element) for kind in kept}
        return {**element, "control": self.joined(maps, element["x"].shape[:2])}

    @property
    def channels(self) -> int:
        """Returns the channels of all maps."""
        return sum(CHANNELS[kind] for kind in self.of)

    def joined(self, maps: Mapping[str, Any], size: Sequence[int]) -> Batches:
        """Returns maps [h, w, c] or [n, h, w, c], by kind, side by side; zeros for the others.

        Raises:
            ValueError: a map is of a kind that is not among `of`, or has another shape.
        """
        if unknown := sorted(set(maps) - set(self.of)):
            raise ValueError(f"control: no map {unknown[0]!r}; known: {', '.join(self.of)}")
        for kind, values in maps.items():
            expected = (*size, CHANNELS[kind])
            if np.shape(values)[-3:] != expected:
                raise ValueError(
                    f"control: the map {kind!r} has shape {np.shape(values)}, not {expected}"
                )
        empty = lambda kind: np.zeros((*size, CHANNELS[kind]), np.float32)
        parts = [maps[kind] if kind in maps else empty(kind) for kind in self.of]
        batch = max((np.shape(part)[:-3] for part in parts), key=len)
        whole = [np.broadcast_to(part, (*batch, *np.shape(part)[-3:])) for part in parts]
        return np.concatenate(whole, axis=-1)


def blobs(
    points: Float[np.ndarray, "layers kinds 3"], height: int, width: int
) -> Float[np.ndarray, "h w kinds"]:
    """Returns a Gaussian of height 1 at each visible point (x, y, visibility), by kind."""
    rows, columns = np.indices((height, width), np.float32) + 0.5
    x, y, seen = np.moveaxis(points.astype(np.float32), -1, 0)[..., None, None]
    apart = (columns - x) ** 2 + (rows - y) ** 2
    return rearrange(
        (seen * np.exp(-apart / (2 * SPREAD**2))).max(axis=0), "kinds h w -> h w kinds"
    )


def one_channel(plane: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "h w 1"]:
    """Returns a plane as a map."""
    return plane[..., None]


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
