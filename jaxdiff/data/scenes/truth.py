"""Exact truths of a scene: masks, segmentation, edges, depth, key points, the objects."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdiff.data.scenes.paint import Painting, Placed
from jaxdiff.data.scenes.sprites import sprite

Owner = Int[np.ndarray, "h w"]
"""The emoji that a pixel shows most of, by its layer; -1 for the ground."""


def owner(painting: Painting) -> Owner:
    """Returns which emoji each pixel shows."""
    ground = 1 - painting.shares.sum(0, keepdims=True)
    return np.concatenate([ground, painting.shares]).argmax(0).astype(np.int32) - 1


def masks(found: Owner, slots: int) -> Bool[np.ndarray, "slots h w"]:
    """Returns the visible part of each emoji; empty for layers that the scene does not have."""
    return found == np.arange(slots)[:, None, None]


def segmentation(found: Owner, placed: Sequence[Placed]) -> Int[np.ndarray, "h w"]:
    """Returns 1 + the kind that each pixel shows, 0 for the ground."""
    return np.array([0, *(1 + each.kind for each in placed)], np.int32)[found + 1]


def edges(found: Owner) -> Bool[np.ndarray, "h w"]:
    """Marks pixels whose right or lower neighbour shows something else."""
    marked = np.zeros(found.shape, bool)
    marked[:, :-1] |= found[:, :-1] != found[:, 1:]
    marked[:-1] |= found[:-1] != found[1:]
    return marked


def depth(found: Owner, slots: int) -> Float[np.ndarray, "h w"]:
    """Returns how near a pixel is by layers: 0 for the ground, at most 1."""
    return ((found + 1) / slots).astype(np.float32)


def points(found: Owner, placed: Sequence[Placed], slots: int) -> Float[np.ndarray, "slots 5 3"]:
    """Returns x, y in pixels and visibility (0 or 1) of the key points of each emoji.

    They are its centroid and its leftmost, rightmost, topmost and lowest point before it is turned.
    """
    size = len(found)
    result = np.zeros((slots, 5, 3), np.float32)
    for layer, each in enumerate(placed):
        at = sprite(each.kind, each.color).points @ each.matrix[:, :2].T + each.matrix[:, 2]
        result[layer, :, :2] = at * size
        for point, (x, y) in enumerate(np.floor(at * size).astype(int)):
            # Rounding may move a point on the outline to a neighbouring pixel.
            near = found[max(y - 1, 0) : max(y + 2, 0), max(x - 1, 0) : max(x + 2, 0)]
            inside = 0 <= x < size and 0 <= y < size
            result[layer, point, 2] = inside and bool((near == layer).any())
    return result


def places(placed: Sequence[Placed], slots: int) -> Float[np.ndarray, "slots 4"]:
    """Returns x, y, side and angle of each emoji; zeros for layers that there are not."""
    result = np.zeros((slots, 4), np.float32)
    result[: len(placed)] = [each[2:] for each in placed]
    return result


def indices(values: Sequence[int], slots: int) -> Int[np.ndarray, " slots"]:
    """Returns numbers by layer; -1 for layers that there are not."""
    return np.array([*values, *[-1] * (slots - len(values))], np.int32)
