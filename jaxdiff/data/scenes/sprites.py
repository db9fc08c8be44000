"""Emoji in nine colours, and the colours of grounds: the things that scenes are made of."""

import functools
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from jaxdiff.data.emoji_files import drawing, raster

COLORS = {
    "red": ("ea5a47", "d22f27"),
    "orange": ("f4aa41", "e27022"),
    "yellow": ("fcea2b", "f1b31c"),
    "green": ("b1cc33", "5c9e31"),
    "blue": ("61b2e4", "1e50a0"),
    "purple": ("b399c8", "8967aa"),
    "pink": ("ffa7c0", "e67a94"),
    "brown": ("a57939", "6a462f"),
    "grey": ("d0cfce", "9b9b9a"),
}
"""The light and the dark shade of each colour, in OpenMoji's palette."""

ALSO_BLUE = "92d3f5"
"""A paler blue of the palette."""

KINDS = {
    "apple": "1F34E", "backpack": "1F392", "balloon": "1F388", "basketball": "1F3C0",
    "bell": "1F514", "book": "1F4D5", "boot": "1F462", "briefcase": "1F4BC", "bucket": "1FAA3",
    "butterfly": "1F98B", "cactus": "1F335", "cake": "1F382", "camel": "1F42A",
    "candy": "1F36C", "canoe": "1F6F6", "car": "1F697", "cat": "1F408",
    "cloud": "2601", "crab": "1F980", "crown": "1F451", "dinosaur": "1F996", "dog": "1F415",
    "donut": "1F369", "dress": "1F457", "drum": "1F941", "elephant": "1F418", "fish": "1F41F",
    "frog": "1F438", "gem": "1F48E", "guitar": "1F3B8", "heart": "2764", "key": "1F511",
    "kite": "1FA81", "lightning bolt": "26A1", "moon": "1F319", "mushroom": "1F344",
    "octopus": "1F419", "padlock": "1F512", "pear": "1F350", "pencil": "270F", "pig": "1F416",
    "pine tree": "1F332", "pumpkin": "1F383", "puzzle piece": "1F9E9", "scarf": "1F9E3",
    "shield": "1F6E1", "shirt": "1F455", "snail": "1F40C", "snake": "1F40D", "sock": "1F9E6",
    "star": "2B50", "sun": "2600", "teddy bear": "1F9F8", "telephone": "260E", "tree": "1F333",
    "trumpet": "1F3BA", "turtle": "1F422", "umbrella": "2602",
}  # fmt: skip
"""The drawings by noun; each has one main colour, which is replaced."""

NOUNS, COLOR_NAMES = tuple(KINDS), tuple(COLORS)
PLURALS = {"butterfly": "butterflies", "cactus": "cacti", "candy": "candies", "fish": "fish"}
PLURALS |= {"octopus": "octopuses"}

VIEW = 72
"""The side of OpenMoji's drawings, in their own unit."""

LEVELS = (128, 64, 32, 16)
"""Sides of the pictures of a sprite, in pixels."""


class Sprite(NamedTuple):
    """One emoji in one colour, as pictures of falling size, and its key points."""

    levels: tuple[Image.Image, ...]
    """Squares of Pillow's mode RGBa: the colours are multiplied by alpha."""

    points: Float[np.ndarray, "5 2"]
    """Centroid, leftmost, rightmost, topmost and lowest point: x, y in [-½, ½] of the square."""

    def level(self, side: float) -> Image.Image:
        """Returns the smallest picture that is not smaller than `side` pixels, or the largest."""
        enough = [picture for picture in self.levels if picture.width >= side]
        return enough[-1] if enough else self.levels[0]


def is_held_out(kind: int, color: int) -> bool:
    """Returns whether this kind in this colour is in no scene of training: one colour of each."""
    return (kind + color) % len(COLORS) == 0


@functools.cache
def sprite(kind: int, color: int) -> Sprite:
    """Returns an emoji of `NOUNS` in a colour of `COLOR_NAMES`."""
    return sprite_of(recolored(drawing(KINDS[NOUNS[kind]]), COLOR_NAMES[color]))


def sprite_of(svg: str) -> Sprite:
    """Returns the pictures of a drawing, cut to its square."""
    svg = cropped(svg)
    pictures = [raster(svg, side) for side in LEVELS]
    levels = tuple(Image.fromarray(picture).convert("RGBa") for picture in pictures)
    return Sprite(levels, _points(pictures[0][..., 3] > 127))


def recolored(svg: str, color: str) -> str:
    """Returns a drawing whose main colour is another; the main colour fills most of its area."""
    shades = {color: set(pair) for color, pair in COLORS.items()}
    shades["blue"].add(ALSO_BLUE)
    main = _main_color(svg, shades)
    light, dark = COLORS[color]
    lightest = max(shades[main] & _used(svg), key=_luma)
    replaced = {shade: light if shade == lightest else dark for shade in shades[main]}
    pattern = re.compile("#(" + "|".join(shades[main]) + ")", re.IGNORECASE)
    return pattern.sub(lambda found: "#" + replaced[found[1].lower()], svg)


def cropped(svg: str) -> str:
    """Returns a drawing cut to the smallest square around it, with a margin of a hair."""
    rows, columns = np.nonzero(raster(svg, 2 * VIEW)[..., 3])
    low, high = (np.array([f(columns), f(rows)]) / 2 for f in (np.min, np.max))
    side = (high - low).max() + 1.5
    x, y = (low + high + 0.5 - side) / 2
    return re.sub('viewBox="[^"]*"', f'viewBox="{x} {y} {side} {side}"', svg, count=1)


def ground_color(color: str) -> Float[np.ndarray, " 3"]:
    """Returns the colour of a ground in [0, 1]: paler than things of that colour; or white."""
    if color == "white":
        return np.ones(3, np.float32)
    return (0.55 * _rgb(COLORS[color][0]) + 0.45).astype(np.float32)


def _main_color(svg: str, shades: dict[str, set[str]]) -> str:
    picture = raster(svg, 64)
    pixels = picture[picture[..., 3] > 250][:, :3].astype(int)
    area = {
        color: sum((np.abs(pixels - 255 * _rgb(shade)).max(axis=1) < 3).sum() for shade in some)
        for color, some in shades.items()
    }
    return max(area, key=lambda color: area[color])


def _used(svg: str) -> set[str]:
    return {found.lower() for found in re.findall("#([0-9a-fA-F]{6})", svg)}


def _rgb(shade: str) -> Float[np.ndarray, " 3"]:
    return np.array([int(shade[i : i + 2], 16) for i in (0, 2, 4)]) / 255


def _luma(shade: str) -> float:
    return float(_rgb(shade) @ (0.299, 0.587, 0.114))


def _points(inside: Bool[np.ndarray, "s s"]) -> Float[np.ndarray, "5 2"]:
    y, x = np.nonzero(inside)
    extremes = [(x[i], y[i]) for i in (x.argmin(), x.argmax(), y.argmin(), y.argmax())]
    pixels = np.array([(x.mean(), y.mean()), *extremes])
    return ((pixels + 0.5) / len(inside) - 0.5).astype(np.float32)
