"""The kernel distance between two sets of features."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from jaxdiff.evaluation.moments import feature_matrix, require_same_width


class KernelDistance(NamedTuple):
    """An average over subsets, and its standard error for the given features."""

    mean: float
    standard_error: float


def kernel_distance(
    real: ArrayLike,
    generated: ArrayLike,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> KernelDistance:
    """Returns the unbiased squared MMD of random subsets (KID, Bińkowski et al. 2018).

    The kernel is `(x·y / d + 1)³`. Features have shapes [n, d] and [m, d]; being unbiased, the
    value may be compared between sets of different sizes, and may be slightly negative.

    Raises:
        ValueError: a set is smaller than `subset_size`, or the options are out of range.
    """
    x, y = feature_matrix("real", real), feature_matrix("generated", generated)
    require_same_width(x, y)
    if subsets < 2 or not 2 <= subset_size <= min(len(x), len(y)):
        raise ValueError(
            f"subsets={subsets} must be 2 or more, and subset_size={subset_size} from 2 to the "
            f"smaller set's size, {min(len(x), len(y))}"
        )
    random = np.random.default_rng(seed)
    draw = lambda features: features[random.choice(len(features), subset_size, replace=False)]
    values = [squared_mmd(draw(x), draw(y)) for _ in range(subsets)]
    return KernelDistance(float(np.mean(values)), float(np.std(values, ddof=1) / subsets**0.5))


def squared_mmd(x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "m d"]) -> float:
    """Returns the unbiased squared MMD under the cubic kernel (Gretton et al. 2012, lemma 6)."""
    return float(_mean_of_pairs(x) + _mean_of_pairs(y) - 2 * _cubic(x, y).mean())


def _mean_of_pairs(x: np.ndarray) -> float:
    kernel = _cubic(x, x)
    return (kernel.sum() - kernel.trace()) / (len(x) * (len(x) - 1))


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # a general power takes ten times as long
