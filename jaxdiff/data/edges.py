"""Edges of a picture, found in its pixels."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxdiff.options import Share, check

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
AROUND = np.ones((3, 3), int)


def canny(
    pixels: UInt8[np.ndarray, "h w c"], low: float = 0.1, high: float = 0.2, sigma: float = 1.0
) -> Float[np.ndarray, "h w 1"]:
    """Returns the edges of a picture: 1 on lines about a pixel wide, 0 elsewhere (Canny 1986).

    A gradient counts where it is the highest across the edge; from `low` on, if a line of such
    pixels leads to one from `high` on. Gradients are Sobel's, over 4: 1 is a step from black to
    white, were nothing smoothed.

    Args:
        pixels: grey or RGB.
        low, high: the two thresholds, in [0, 1].
        sigma: deviation, in pixels, of the Gaussian that smooths before.

    Raises:
        ValueError: a threshold is out of range, or low is above high.
    """
    check("low", Share, low)
    check("high", Share, high)
    if low > high:
        raise ValueError(f"low={low} is above high={high}")
    from scipy import ndimage  # noqa: PLC0415 - takes tenths of a second

    smooth = ndimage.gaussian_filter(luma(pixels)[..., 0], sigma)
    rows, columns = (ndimage.sobel(smooth, axis) / 4 for axis in (0, 1))
    strength = np.hypot(rows, columns)
    ridges = strength * _highest(strength, rows, columns)
    lines, _ = ndimage.label(ridges >= low, AROUND)
    strong = np.unique(lines[(ridges >= high) & (lines > 0)])
    return np.isin(lines, strong)[..., None].astype(np.float32)


def luma(pixels: UInt8[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w 1"]:
    """Returns the luma of a picture, grey or RGB, in [0, 1]."""
    x = pixels.astype(np.float32) / 255
    return x if x.shape[-1] == 1 else (x[..., :3] @ LUMA)[..., None]


def _highest(
    strength: Float[np.ndarray, "h w"], rows: np.ndarray, columns: np.ndarray
) -> Bool[np.ndarray, "h w"]:
    """Returns where a gradient is the highest along its direction, within half a pixel of it."""
    length = np.maximum(strength, 1e-9)
    from scipy import ndimage  # noqa: PLC0415

    down, right = rows / length, columns / length
    places = np.indices(strength.shape).astype(np.float32)
    at = lambda way: ndimage.map_coordinates(
        strength, [places[0] + way * down, places[1] + way * right], order=1, mode="nearest"
    )
    # Of two that are equal, side by side, one stays.
    return (strength > at(-1) + 1e-6) & (strength >= at(1) - 1e-6)
