"""Where the tokens of a clip lie, and how a transformer is told.

A place is (frame, row, column), counted in patches from the first. Formulas extend to sizes,
aspect ratios and durations that were not seen in training; `Fitted` and `Centred` say how far
apart neighbours are in an image of another size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Grid = tuple[int, int, int]
"""Numbers of patches: frames, rows, columns."""


@dataclass(frozen=True)
class Counted:
    """Neighbours are `spacing` apart in every image."""

    spacing: float = 1.0

    def __call__(self, grid: Grid) -> Float[np.ndarray, "n 3"]:
        """Returns the places, frame by frame and row by row."""
        places = np.indices(grid, np.float32).reshape(3, -1).T
        return places * np.array([1, self.spacing, self.spacing], np.float32)


@dataclass(frozen=True)
class Fitted:
    """Rows and columns of every image are spread over `extent`, as over that many patches."""

    extent: float

    def __call__(self, grid: Grid) -> Float[np.ndarray, "n 3"]:
        """Returns the places, frame by frame and row by row."""
        return Counted()(grid) * np.array(
            [1, self.extent / grid[1], self.extent / grid[2]], np.float32
        )


@dataclass(frozen=True)
class Centred:
    """Rows and columns are the middle ones of a grid of `most`, spread over `extent`.

    So an image has the same centre and scale whatever its aspect ratio (Esser et al., 2024,
    section 5.3.2).
    """

    extent: float
    most: int

    def __call__(self, grid: Grid) -> Float[np.ndarray, "n 3"]:
        """Returns the places, frame by frame and row by row."""
        first = np.array([0, (self.most - grid[1]) // 2, (self.most - grid[2]) // 2])
        places = Counted()(grid) + first.astype(np.float32)
        return places * np.array([1, *[self.extent / self.most] * 2], np.float32)


Places = Callable[[Grid], Float[np.ndarray, "n 3"]]


@dataclass(frozen=True)
class Waves:
    """Sines and cosines of each place, added to its token (Peebles & Xie, 2023).

    Half of the features are the column's, half the row's. A frame's are added to all, less those
    of the first: a clip's first frame is an image.
    """

    places: Places = Counted()
    max_period: float = 10000.0

    def added(
        self, places: Float[Array | np.ndarray, "*b n 3"], features: int
    ) -> Float[Array, "*b n features"]:
        """Returns what is added to the tokens.

        Raises:
            ValueError: the width is not a multiple of 4.
        """
        if features % 4:
            raise ValueError(f"features={features}: waves of rows and columns need a multiple of 4")
        frame, row, column = jnp.moveaxis(jnp.asarray(places, jnp.float32), -1, 0)
        half = features // 2
        image = [self._waves(column, half), self._waves(row, half)]
        time = self._waves(frame, features) - self._waves(jnp.zeros(()), features)
        return jnp.concatenate(image, axis=-1) + time

    def rotation(self, places: Float[Array | np.ndarray, "*b n 3"], channels: int) -> None:
        """Nothing is turned."""
        return

    def _waves(self, place: Array, features: int) -> Array:
        pairs = features // 2
        frequency = self.max_period ** (-np.arange(pairs) / pairs)
        angle = place[..., None] * frequency.astype(np.float32)
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


@dataclass(frozen=True)
class Rotary:
    """Queries and keys turned by angles that grow with the place (Su et al., 2021).

    Attention then knows how far apart two tokens are. `shares` says how many pairs of channels of
    a head turn with the frame, the row and the column; None for a third each, the frame having what
    is left over.
    """

    places: Places = Counted()
    max_period: float = 10000.0
    shares: tuple[int, int, int] | None = None

    def added(self, places: Float[Array | np.ndarray, "*b n 3"], features: int) -> None:
        """Nothing is added to the tokens."""
        return

    def rotation(
        self, places: Float[Array | np.ndarray, "*b n 3"], channels: int
    ) -> Float[Array, "*b n pairs"]:
        """Returns the angles for heads of so many channels.

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
            places[..., axis, None]
            * (self.max_period ** (-np.arange(pairs) / pairs)).astype(np.float32)
            for axis, pairs in enumerate(shares)
        ]
        return jnp.concatenate(angles, axis=-1)


Positions = Waves | Rotary
