"""Painting: emoji laid over a ground, antialiased, and the share of each pixel that they cover."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jaxdiff.data.scenes.sprites import Sprite, ground_color, sprite

OVERSAMPLING = 2
"""Samples of a pixel along each axis."""

GROUNDS = ("plain", "gradient", "checked")
SQUARES = 4
"""Squares of a checked ground along the frame's side."""


class Placed(NamedTuple):
    """An emoji in the frame; lengths are shares of the frame's side, y points down.

    `x` and `y` are the centre of its square, `side` the square's side, `angle` is in radians from x
    towards y.
    """

    kind: int
    color: int
    x: float
    y: float
    side: float
    angle: float

    @property
    def matrix(self) -> Float[np.ndarray, "2 3"]:
        """Returns the map from its square, [-½, ½]², to the frame, [0, 1]²."""
        cos, sin = self.side * math.cos(self.angle), self.side * math.sin(self.angle)
        return np.array([[cos, -sin, self.x], [sin, cos, self.y]])


class Camera(NamedTuple):
    """The part of the world that is seen: its centre, and how much larger things appear."""

    x: float = 0.5
    y: float = 0.5
    zoom: float = 1.0

    def seen(self, placed: Placed) -> Placed:
        """Returns an emoji of the world as it lies in the frame."""
        x, y = ((at - by) * self.zoom + 0.5 for at, by in ((placed.x, self.x), (placed.y, self.y)))
        return placed._replace(x=x, y=y, side=placed.side * self.zoom)


WHOLE = Camera()
"""The camera that sees the whole frame of the world."""


class Ground(NamedTuple):
    """The ground of the world: plain, a gradient from one colour to another, or checked."""

    kind: str
    first: str
    second: str
    angle: float

    def paint(self, side: int, camera: Camera = WHOLE) -> Float[np.ndarray, "side side 3"]:
        """Returns the ground as a camera sees it, in [0, 1]."""
        first, second = ground_color(self.first), ground_color(self.second)
        if self.kind == "plain":
            return np.tile(first, (side, side, 1))
        place = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
        x, y = place[None] / camera.zoom + camera.x, place[:, None] / camera.zoom + camera.y
        if self.kind == "checked":
            share = (np.floor(SQUARES * x) + np.floor(SQUARES * y)) % 2
        else:
            along = (x - 0.5) * math.cos(self.angle) + (y - 0.5) * math.sin(self.angle)
            share = np.clip(0.5 + along / math.sqrt(2), 0, 1)
        return first + (second - first) * share[..., None].astype(np.float32)


class Painting(NamedTuple):
    """A picture, and the share of each pixel that shows each emoji."""

    picture: UInt8[np.ndarray, "size size 3"]
    shares: Float[np.ndarray, "n size size"]


def paint(
    ground: Float[np.ndarray, "side side 3"],
    placed: Sequence[Placed],
    size: int,
    with_shares: bool = True,
    sprites: Callable[[int, int], Sprite] = sprite,
) -> Painting:
    """Lays emoji over a ground in their order; the ground's side is `OVERSAMPLING` times `size`.

    Without shares, there are shares of no emoji. `sprites` are the pictures of a kind in a colour.
    """
    canvas = ground.copy()
    side = len(canvas)
    shares = np.zeros((len(placed) if with_shares else 0, side, side), np.float32)
    for layer, each in enumerate(placed):
        rows, columns = (_span(at, each, side) for at in (each.y, each.x))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            continue
        over = _transformed(sprites(each.kind, each.color), each, rows, columns, side)
        cover = over[..., 3:]
        canvas[rows, columns] = canvas[rows, columns] * (1 - cover) + over[..., :3]
        if with_shares:
            shares[:layer, rows, columns] *= 1 - cover[None, ..., 0]
            shares[layer, rows, columns] = cover[..., 0]
    picture = np.rint(255 * np.clip(_reduced(canvas[None], size)[0], 0, 1)).astype(np.uint8)
    return Painting(picture, _reduced(shares[..., None], size)[..., 0])


def _span(at: float, placed: Placed, side: int) -> slice:
    """Returns the pixels along one axis that an emoji may touch."""
    reach = placed.side / 2 * (abs(math.cos(placed.angle)) + abs(math.sin(placed.angle)))
    first, last = math.floor((at - reach) * side), math.ceil((at + reach) * side)
    return slice(max(first, 0), max(min(last, side), 0))


def _transformed(
    of: Sprite, placed: Placed, rows: slice, columns: slice, side: int
) -> Float[np.ndarray, "h w 4"]:
    source = of.level(placed.side * side)
    inverse = np.linalg.inv(placed.matrix[:, :2])
    # From a pixel of the canvas to one of the source, whose origins are corners.
    offset = np.array([columns.start, rows.start]) / side - placed.matrix[:, 2]
    scale = source.width * inverse / side
    shift = source.width * (inverse @ offset + 0.5)
    found = source.transform(
        (columns.stop - columns.start, rows.stop - rows.start),
        Image.Transform.AFFINE,
        (*scale[0], shift[0], *scale[1], shift[1]),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(found, np.float32) / 255


def _reduced(x: Float[np.ndarray, "n s s c"], size: int) -> Float[np.ndarray, "n size size c"]:
    """Returns means over the samples of each pixel."""
    samples = [(i, j) for i in range(OVERSAMPLING) for j in range(OVERSAMPLING)]
    parts = [x[:, i::OVERSAMPLING, j::OVERSAMPLING] for i, j in samples]
    return np.add.reduce(parts) / np.float32(len(parts))
