"""The sliced Wasserstein distance between two sets of points (Bonneel et al. 2015)."""

import numpy as np
from jaxtyping import Float


def sliced_wasserstein(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], *, directions: int = 64, seed: int = 0
) -> float:
    """Returns the mean over directions of the distance between the sets' shadows on a line.

    On a line the best transport is in order, so the distance is that of the sorted points; in one
    dimension it is the Wasserstein distance itself.

    Raises:
        ValueError: the sets are not of the same shape.
    """
    if x.shape != y.shape:
        raise ValueError(f"sets of shapes {x.shape} and {y.shape}; they must be the same")
    rays = np.random.default_rng(seed).normal(size=(x.shape[1], directions))
    rays /= np.linalg.norm(rays, axis=0)
    shadows = (np.sort(np.float64(each) @ rays, axis=0) for each in (x, y))
    return float(np.mean(np.abs(np.subtract(*shadows))))
