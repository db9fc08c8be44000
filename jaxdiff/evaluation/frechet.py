"""The Fréchet distance between Gaussians fitted to two sets of features."""

import numpy as np
from jaxtyping import Float64

from jaxdiff.evaluation.moments import Moments, require_same_width


def frechet_distance(a: Moments, b: Moments) -> float:
    """Returns `|μa − μb|² + tr(Ca + Cb − 2 (Ca^½ Cb Ca^½)^½)` (Heusel et al. 2017, eq. 6).

    With any `Ca = A Aᵀ` and `Cb = B Bᵀ` the last trace is the sum of the singular values of
    `Aᵀ B`. Covariances may be singular, nothing becomes complex, and no small eigenvalue is
    squared on the way.

    The distance is biased upwards by about d² / n: compare sets of one size only.
    """
    require_same_width(a.mean, b.mean)
    A, B = _factor(a.covariance), _factor(b.covariance)
    overlap = np.linalg.svd(A.T @ B, compute_uv=False).sum()
    distance = np.sum((a.mean - b.mean) ** 2) + np.sum(A * A) + np.sum(B * B) - 2 * overlap
    return float(max(distance, 0.0))


def _factor(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d d"]:
    variances, axes = np.linalg.eigh(covariance)
    return axes * np.sqrt(np.maximum(variances, 0.0))
