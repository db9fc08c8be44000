"""Mean and covariance of features, gathered batch by batch.

They are float64 arrays on the host: a Fréchet distance is a small difference of large traces, and
JAX's default float32 loses it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter matrix `Σ (x − mean)(x − mean)ᵀ` of feature vectors."""

    count: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """The unbiased covariance; needs two vectors at least."""
        if self.count < 2:
            raise ValueError(f"a covariance needs two feature vectors or more, got {self.count}")
        return self.scatter / (self.count - 1)


def moments(features: ArrayLike) -> Moments:
    """Returns the moments of features [n, d]."""
    x = feature_matrix("features", features)
    mean = x.mean(axis=0)
    centred = x - mean
    return Moments(len(x), mean, centred.T @ centred)


def merge(a: Moments, b: Moments) -> Moments:
    """Returns the moments of both sets together, exactly (Chan, Golub & LeVeque 1983)."""
    require_same_width(a.mean, b.mean)
    count = a.count + b.count
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.count / count)
    between = np.outer(delta, delta) * (a.count * b.count / count)
    return Moments(count, mean, a.scatter + b.scatter + between)


def feature_matrix(name: str, values: ArrayLike) -> Float64[np.ndarray, "n d"]:
    """Returns the values as float64, having checked that they are finite and [n ≥ 1, d]."""
    x = np.asarray(values, np.float64)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} must have shape [n, d], n and d at least 1; got {x.shape}")
    broken = len(x) - np.isfinite(x).all(axis=1).sum()
    if broken:
        raise ValueError(f"{name}: {broken} of {len(x)} rows hold NaN or infinite values")
    return x


def require_same_width(a: np.ndarray, b: np.ndarray) -> None:
    """Raises ValueError unless the features of both sets have the same number of entries."""
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"the sets have {a.shape[-1]} and {b.shape[-1]} features: not of one extractor"
        )
