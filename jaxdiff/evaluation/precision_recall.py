"""Fidelity and diversity as two numbers: precision and recall on features."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from jaxdiff.evaluation.moments import feature_matrix, require_same_width


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: of samples that look real, and of real data that samples cover."""

    precision: float
    recall: float


def precision_recall(
    real: ArrayLike,
    generated: ArrayLike,
    *,
    neighbours: int = 3,
    limit: int = 10_000,
    block: int = 1000,
    seed: int = 0,
) -> PrecisionRecall:
    """Returns precision and recall of generated [m, d] against real [n, d] features.

    A set's manifold is the union of balls around its points, each reaching to the point's k-th
    nearest neighbour (Kynkäänniemi et al. 2019, eq. 1 and 2).

    Both depend on the sizes of the sets. From a larger one `limit` features are drawn at random;
    no more than `block · limit` distances are held at a time.

    Raises:
        ValueError: a set has no more than `neighbours` features.
    """
    x, y = feature_matrix("real", real), feature_matrix("generated", generated)
    require_same_width(x, y)
    random = np.random.default_rng(seed)
    x, y = (s[random.choice(len(s), limit, replace=False)] if len(s) > limit else s for s in (x, y))
    if not 1 <= neighbours < min(len(x), len(y)):
        raise ValueError(
            f"neighbours={neighbours} must be at least 1 and less than the smaller set's size, "
            f"{min(len(x), len(y))}"
        )
    centre = x.mean(axis=0)  # keeps the squares small, which the expanded distance subtracts
    x, y = x - centre, y - centre
    return PrecisionRecall(
        precision=float(_inside(y, x, neighbours, block).mean()),
        recall=float(_inside(x, y, neighbours, block).mean()),
    )


def _inside(
    points: Float64[np.ndarray, "n d"],
    centres: Float64[np.ndarray, "m d"],
    neighbours: int,
    block: int,
) -> Bool[np.ndarray, " n"]:
    # Each point is the nearest to itself, so that index k, not k - 1, is the k-th neighbour.
    radii = [np.partition(d, neighbours)[:, neighbours] for d in _rows(centres, centres, block)]
    squared_radii = np.concatenate(radii)
    return np.concatenate([(d <= squared_radii).any(axis=1) for d in _rows(points, centres, block)])


def _rows(x: np.ndarray, y: np.ndarray, block: int) -> Iterator[np.ndarray]:
    """Yields the squared distances from a block of x at a time to all of y."""
    y_squares = np.sum(y * y, axis=1)
    for start in range(0, len(x), block):
        rows = x[start : start + block]
        yield np.maximum(np.sum(rows**2, axis=1)[:, None] + y_squares - 2 * rows @ y.T, 0.0)
