"""The table of positions in files of Stable Diffusion 3 and DiT, which a formula gives here."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdiff.networks.dit import CentredGrid, DiT, MMDiT

TOLERANCE = 0.02
"""Of numbers in [-1, 1] that may be stored in half precision."""


def positions_of(network: MMDiT) -> Float[np.ndarray, "1 places features"]:
    """Returns the table of positions, which others read from the file."""
    places = _places(network.positions.places)
    return np.asarray(network.positions.added(places[None], network.features), np.float32)


def check_positions(network: Any, table: Any, source: str) -> None:
    """Checks the table of positions in a file, if there is one, by a few of its rows.

    Raises:
        ValueError: it is of another size, or holds others than the network adds.
    """
    if table is not None and isinstance(network, DiT):
        return _check_all(network, table, source)
    grid = getattr(getattr(network, "positions", None), "places", None)
    if table is None or not isinstance(network, MMDiT) or not isinstance(grid, CentredGrid):
        return
    if tuple(table.shape) != (shape := (1, grid.most**2, network.features)):
        raise ValueError(f"{source}: the positions have shape {list(table.shape)}, not {shape}")
    places, most = _places(grid), grid.most
    rows = [0, most - 1, most * (most // 2) + most // 3, most**2 - 1]
    stored = np.asarray(table.mapped() if hasattr(table, "mapped") else table)[0, rows]
    expected = network.positions.added(places[rows][None], network.features)[0]
    error = float(np.abs(np.asarray(stored, np.float32) - np.asarray(expected)).max())
    if error > TOLERANCE:
        raise ValueError(
            f"{source} holds other positions than sines and cosines of a grid of {most} places"
            f" over {grid.extent:g}: they differ by {error:.2g}"
        )


def _check_all(network: DiT, table: Any, source: str) -> None:
    side = math.isqrt(table.shape[1])
    places = network.positions.places((1, side, side))
    expected = np.asarray(network.positions.added(places[None], network.features))
    stored = np.asarray(table, np.float32)
    if stored.shape != expected.shape or np.abs(stored - expected).max() > TOLERANCE:
        raise ValueError(
            f"{source} holds other positions than sines and cosines of {side} by {side} places"
        )


def _places(grid: CentredGrid) -> Float[np.ndarray, "places 3"]:
    return grid((1, grid.most, grid.most))
