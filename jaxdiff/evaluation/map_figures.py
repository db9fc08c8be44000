"""Figures of how well pictures follow the maps that steered them."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

NEAR = np.ones((3, 3), bool)


def edge_f1(found: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """Returns the F1 score of marked pixels that lie within one pixel of each other.

    1 where neither has any; 0 where one has none.
    """
    if not found.any() or not truth.any():
        return float(found.any() == truth.any())
    near = lambda marks: ndimage.binary_dilation(marks, NEAR)
    precision = (found & near(truth)).sum() / found.sum()
    recall = (truth & near(found)).sum() / truth.sum()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def mean_iou(found: Int[np.ndarray, "h w"], truth: Int[np.ndarray, "h w"]) -> float:
    """Returns the intersection over union of classes, on average over those of the truth."""
    shares = [
        ((found == each) & (truth == each)).sum() / ((found == each) | (truth == each)).sum()
        for each in np.unique(truth)
    ]
    return float(np.mean(shares))


def depth_order(
    depth: Float[np.ndarray, "h w"], masks: Bool[np.ndarray, "layers h w"]
) -> float | None:
    """Returns the share of touching pairs whose nearer one, the later layer, is found nearer.

    None without such a pair: of things apart a picture does not say which is nearer.
    """
    wide = [ndimage.binary_dilation(each, NEAR, iterations=2) for each in masks]
    pairs = [
        (far, near)
        for near in range(len(masks))
        for far in range(near)
        if masks[far].any() and masks[near].any() and (wide[far] & wide[near]).any()
    ]
    right = [np.median(depth[masks[near]]) > np.median(depth[masks[far]]) for far, near in pairs]
    return float(np.mean(right)) if pairs else None


def point_error(
    blobs: Float[np.ndarray, "h w kinds"],
    points: Float[np.ndarray, "layers kinds 3"],
    most: float = 16.0,
    level: float = 0.3,
) -> float:
    """Returns the mean distance in pixels of visible points from the nearest peak of their kind.

    Peaks are local maxima of at least `level`; a distance counts `most` at most, and as much where
    there is no peak.
    """
    highest = blobs == ndimage.maximum_filter(blobs, size=(5, 5, 1))
    peaks = highest & (blobs >= level)
    apart = []
    for kind in range(points.shape[1]):
        rows, columns = np.nonzero(peaks[..., kind])
        for x, y, seen in points[:, kind]:
            if seen:
                distances = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
                apart.append(min([most, *distances]))
    return float(np.mean(apart)) if apart else 0.0


def rms(found: Float[np.ndarray, "*shape"], truth: Float[np.ndarray, "*shape"]) -> float:
    """Returns the root of the mean square of the difference."""
    return float(np.sqrt(np.mean(np.square(found - truth))))


def mean_rms(found: Iterable[np.ndarray], truth: Iterable[np.ndarray]) -> float:
    """Returns the mean over pictures, or parts of them, of `rms`."""
    return float(np.mean([rms(*pair) for pair in zip(found, truth, strict=True)]))
