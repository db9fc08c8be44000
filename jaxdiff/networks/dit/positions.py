"""Positional embeddings of space-time patches.

A place is (frame, row, column), counted in patches. Embeddings are formulas, which extend to sizes,
aspect ratios and durations not seen in training; a grid (`SpacedGrid`, `StretchedGrid`,
`CentredGrid`) sets the distance of neighbours in an image of another size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float

from jaxdiff.networks.times import sin_cos
from jaxdiff.options import PositiveFloat, Width, checked

Grid = tuple[int, int, int]
"""Numbers of patches: frames, rows, columns."""


@checked
@dataclass(frozen=True)
class SpacedGrid:
    """Places at a distance of `spacing` in every image."""

    spacing: PositiveFloat = 1.0

    def __call__(self, grid: Grid) -> Float[np.ndarray, "n 3"]:
        """Returns the places, frame by frame and row by row."""
        places = rearrange(np.indices(grid, np.float32), "three f h w -> (f h w) three")
        return places * np.array([1, self.spacing, self.spacing], np.float32)


@checked
@dataclass(frozen=True)
class StretchedGrid:
    """Rows and columns of every image stretched over `extent` patches."""

    extent: PositiveFloat

    def __call__(self, grid: Grid) -> Float[np.ndarray, "n 3"]:
        """Returns the places, frame by frame and row by row."""
        return SpacedGrid()(grid) * np.array(
            [1, self.extent / grid[1], self.extent / grid[2]], np.float32
        )


@checked
@dataclass(frozen=True)
class CentredGrid:
    """The middle rows and columns of a grid of `most`, which is stretched over `extent`.

    Images of any aspect ratio have the same centre and scale (Esser et al., 2024, section 5.3.2).
    """

    extent: PositiveFloat
    most: Width

    def __call__(self, grid: Grid) -> Float[np.ndarray, "n 3"]:
        """Returns the places, frame by frame and row by row."""
        first = np.array([0, (self.most - grid[1]) // 2, (self.most - grid[2]) // 2])
        places = SpacedGrid()(grid) + first.astype(np.float32)
        return places * np.array([1, *[self.extent / self.most] * 2], np.float32)


Places = Callable[[Grid], Float[np.ndarray, "n 3"]]


@checked
@dataclass(frozen=True)
class SinCosPositions:
    """Sines and cosines of each place, added to its token (Peebles & Xie, 2023).

    Half of the features depend on the column, half on the row. Features of the frame, minus those
    of the first frame, are added to all: the first frame of a clip is an image.
    """

    places: Places = SpacedGrid()
    max_period: PositiveFloat = 10000.0

    def added(
        self, places: Float[Array | np.ndarray, "*b n 3"], features: int
    ) -> Float[Array, "*b n features"]:
        """Returns the features to be added to the tokens.

        Raises:
            ValueError: the width is not a multiple of 4.
        """
        if features % 4:
            raise ValueError(
                f"features={features} must be a multiple of 4, half for rows, half for columns"
            )
        frame, row, column = jnp.moveaxis(jnp.asarray(places, jnp.float32), -1, 0)
        half = features // 2
        image = [self._sin_cos(column, half), self._sin_cos(row, half)]
        time = self._sin_cos(frame, features) - self._sin_cos(jnp.zeros(()), features)
        return jnp.concatenate(image, axis=-1) + time

    def rotation(self, places: Float[Array | np.ndarray, "*b n 3"], channels: int) -> None:
        """Returns None: queries and keys are not rotated."""
        return

    def _sin_cos(self, place: Array, features: int) -> Float[Array, "*n features"]:
        return sin_cos(place[..., None] * frequencies(features // 2, self.max_period))


@checked
@dataclass(frozen=True)
class Rotary:
    """Queries and keys rotated by angles proportional to the place (Su et al., 2021).

    Attention then depends on differences of places. `shares` is the number of pairs of channels of
    a head that rotate with the frame, the row and the column; None for a third each, and the rest
    for the frame.
    """

    places: Places = SpacedGrid()
    max_period: PositiveFloat = 10000.0
    shares: tuple[Width, Width, Width] | None = None

    def added(self, places: Float[Array | np.ndarray, "*b n 3"], features: int) -> None:
        """Returns None: nothing is added to the tokens."""
        return

    def rotation(
        self, places: Float[Array | np.ndarray, "*b n 3"], channels: int
    ) -> Float[Array, "*b n pairs"]:
        """Returns the angles for heads of `channels` channels.

        Raises:
            ValueError: the channels are odd, or `shares` are not all of their pairs.
        """
        third = channels // 6
        shares = self.shares or (channels // 2 - 2 * third, third, third)
        if channels % 2 or sum(shares) != channels // 2:
            raise ValueError(
                f"shares={tuple(shares)} of the pairs of a head of {channels} channels:"
                " they must add to half of an even number"
            )
        places = jnp.asarray(places, jnp.float32)
        angles = [
            places[..., axis, None] * frequencies(pairs, self.max_period)
            for axis, pairs in enumerate(shares)
        ]
        return jnp.concatenate(angles, axis=-1)


def frequencies(pairs: int, max_period: float) -> Float[np.ndarray, " pairs"]:
    """Returns geometrically spaced frequencies, from 1 to almost 1/max_period."""
    return (max_period ** (-np.arange(pairs) / pairs)).astype(np.float32)


Positions = SinCosPositions | Rotary
