"""A few pictures of one emoji that no scene shows, under a word of its own."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

import numpy as np

from jaxdiff.config.fields import Text
from jaxdiff.data.emoji_files import ATTRIBUTION, drawing
from jaxdiff.data.scenes.captions import of_ground
from jaxdiff.data.scenes.layout import SIDES, TILT, draw_ground
from jaxdiff.data.scenes.paint import OVERSAMPLING, Painting, Placed, paint
from jaxdiff.data.scenes.sprites import Sprite, sprite_of
from jaxdiff.data.scenes.still import Side
from jaxdiff.options import Size

HELD_OUT = 1000
"""Scenes of the split "test", to which samples of the character are compared."""


class EmojiCharacter:
    """Images uint8 [size, size, 3] of one emoji in several scenes: "a blorb, on a blue ground".

    It stands for a person's own dog, of which there are `pictures`: the split "train". The split
    "test" has other scenes of it. `code` is OpenMoji's, by default of a robot, which is none of
    `sprites.KINDS`; `word` is the name that a model is to learn.

    Raises:
        ValueError: the split is unknown.
        FileNotFoundError: there is no emoji of this code.
        ModuleNotFoundError: a package of the extra "scenes" is missing.
    """

    num_classes = None
    class_names = None
    attribution = ATTRIBUTION

    def __init__(
        self,
        split: str,
        *,
        code: Text = "1F916",
        word: Text = "blorb",
        pictures: Size = 5,
        size: Side = 64,
    ):
        if split not in ("train", "test"):
            raise ValueError(f"emoji_character: unknown split {split!r}; known: train, test")
        drawing(code)
        self._code, self._word = code, word
        self._first = pictures if split == "test" else 0
        self._count = HELD_OUT if split == "test" else pictures
        self.shape = (size, size, 3)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        place = self._first + range(self._count)[index]
        rng = np.random.default_rng((place, 2))
        ground, side = draw_ground(rng), rng.uniform(*SIDES[1])
        x, y = rng.uniform(side / 2, 1 - side / 2, 2)
        placed = Placed(0, 0, float(x), float(y), float(side), float(rng.uniform(-TILT, TILT)))
        size = self.shape[0]
        canvas, own = ground.paint(OVERSAMPLING * size), lambda kind, color: _sprite(self._code)
        painting = paint(canvas, [placed], size, with_shares=False, sprites=own)
        return {"x": painting.picture, "text": f"a {self._word}, {of_ground(ground)}"}


def poses(
    code: str, size: int, sides: Iterable[float], angles: Iterable[float]
) -> Iterator[Painting]:
    """Yields an emoji alone, in the middle of a grey picture, in each side and angle in radians.

    Sides are shares of the picture's. The shares say which pixels are the emoji's.
    """
    grey = np.full((OVERSAMPLING * size, OVERSAMPLING * size, 3), 0.5, np.float32)
    for side, angle in itertools.product(sides, angles):
        placed = Placed(0, 0, 0.5, 0.5, float(side), float(angle))
        yield paint(grey, [placed], size, sprites=lambda kind, color: _sprite(code))


@functools.cache
def _sprite(code: str) -> Sprite:
    return sprite_of(drawing(code))
