"""Similarity of two images in [-1, 1]: PSNR and structural similarity."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.ndimage import correlate1d

RANGE = 2.0
"""The range of pixels, from -1 to 1."""


def psnr(
    x: Float[np.ndarray, "n *shape"], y: Float[np.ndarray, "n *shape"]
) -> Float[np.ndarray, " n"]:
    """Returns the ratio of the squared range to the mean squared error of each image, in dB.

    Equal images have a ratio of infinity.
    """
    squared = np.square(x.astype(np.float64) - y).reshape(len(x), -1).mean(1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(RANGE**2 / squared)


def ssim(
    x: Float[np.ndarray, "n h w c"], y: Float[np.ndarray, "n h w c"]
) -> Float[np.ndarray, " n"]:
    """Returns the structural similarity of each image, the mean over places and channels.

    As Wang et al. (2004): a Gaussian window of 11 pixels with a deviation of 1.5, K1 = 0.01 and
    K2 = 0.03, at places where the window fits. Images that are smaller have the largest window of
    odd size that fits.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    size = min(11, *(side - (side + 1) % 2 for side in x.shape[1:3]))
    place = np.arange(size) - size // 2
    window = np.exp(-(place**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(a: np.ndarray) -> np.ndarray:
        """Returns the weighted means over the windows that lie inside."""
        for axis in (1, 2):
            a = correlate1d(a, window, axis=axis)
        edge = slice(size // 2, -(size // 2) or None)
        return a[:, edge, edge]

    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    mx, my = mean(x), mean(y)
    vx, vy, covariance = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    likeness = (2 * mx * my + c1) * (2 * covariance + c2)
    likeness /= (mx**2 + my**2 + c1) * (vx + vy + c2)
    return likeness.reshape(len(x), -1).mean(1)


def seams(images: Float[np.ndarray, "n h w c"], columns: Sequence[int]) -> Float[np.ndarray, " n"]:
    """Returns the mean step across some columns of each image, over that across all columns.

    A column stands for the step from the pixel before it. Pictures without seams have about 1.
    """
    steps = np.abs(np.diff(images.astype(np.float64), axis=2)).mean((1, 3))
    return steps[:, np.asarray(columns) - 1].mean(1) / np.maximum(steps.mean(1), 1e-12)
