"""Toy video data: clips of scikit-learn's digits that move and bounce, made from an index."""

from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Int, UInt8

from jaxdiff.data.datasets.digits import in_test
from jaxdiff.options import Size

SIDE = 8
"""Pixels of a digit."""


class MovingDigits:
    """Clips uint8 [frames, size, size, 1] of one moving digit; the label is the digit.

    The digit starts anywhere, moves by one or two pixels a frame along each axis, and bounces off
    the edges; "place" holds the row and column of its corner in each frame, int [frames, 2]. Clip i
    of a split is the same on every machine. The splits share no digit: they are those of `digits`.

    Raises:
        ValueError: the split is neither train nor test, or an option is out of range.
    """

    num_classes = 10
    class_names = tuple(map(str, range(10)))

    def __init__(self, split: str, *, frames: Size = 8, size: Size = 16, clips: Size = 20_000):
        from sklearn.datasets import load_digits  # noqa: PLC0415  slow to import, needed once

        if split not in ("train", "test"):
            raise ValueError(f"moving_digits: unknown split {split!r}; known: train, test")
        if size <= SIDE:
            raise ValueError(f"moving_digits: size={size} is not more than {SIDE}")
        digits = load_digits()
        chosen = in_test(digits.target) == (split == "test")
        self._digits = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)
        self._labels = digits.target[chosen]
        self._test, self._clips = split == "test", clips
        self.shape = (frames, size, size, 1)

    def __len__(self) -> int:
        return self._clips

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        if not 0 <= int(index) < self._clips:
            raise IndexError(index)
        rng = np.random.default_rng((int(index), self._test))
        which = rng.integers(len(self._digits))
        clip, places = self._draw(self._digits[which], rng)
        return {"x": clip, "label": int(self._labels[which]), "place": places}

    def _draw(
        self, digit: UInt8[np.ndarray, "8 8"], rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "f h w 1"], Int[np.ndarray, "f 2"]]:
        """Returns a clip, and the row and the column of the digit's corner in each frame."""
        frames, size = self.shape[:2]
        room = size - SIDE
        start, speed = rng.integers(0, 2 * room, 2), rng.integers(1, 3, 2)
        # A triangle wave of the time: half of its period forwards, half backwards.
        path = (start + speed * np.arange(frames)[:, None]) % (2 * room)
        places = np.where(path < room, path, 2 * room - path)
        clip = np.zeros(self.shape, np.uint8)
        for frame, (row, column) in zip(clip, places, strict=True):
            frame[row : row + SIDE, column : column + SIDE, 0] = digit
        return clip, places
