"""Motion in clips, without knowing it: flicker, identity, and whether what falls accelerates."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import uniform_filter

Clips = Float[np.ndarray, "n f h w c"]
REACH = 5
"""The largest motion between two frames that is looked for, in pixels along an axis."""
WINDOW = 7
"""The side of the square that moves as one, in pixels."""


def flicker(clips: Clips) -> Float[np.ndarray, " n"]:
    """Returns what is left of each frame after the best motion of each of its squares, [0, 2].

    The mean absolute difference to the frame before, of every pixel at the displacement that suits
    the square around it best: block matching. Even real clips have some, where things are
    uncovered, turn or grow.
    """
    return np.array([_residual(clip) for clip in clips])


def change(clips: Clips) -> Float[np.ndarray, " n"]:
    """Returns the mean absolute difference of neighbouring frames, motion included."""
    return np.abs(np.diff(clips, axis=1)).mean(axis=(1, 2, 3, 4))


def warped(
    clips: Clips, flow: Float[np.ndarray, "n f2 h w 2"], visible: Bool[np.ndarray, "n f2 h w"]
) -> Float[np.ndarray, " n"]:
    """Returns the mean absolute difference along the true motion, of points that stay visible.

    `flow` is x, y in pixels to the next frame, as `moving_scenes` has it; the nearest pixel counts.
    """
    found = []
    for clip, moves, seen in zip(clips, flow, visible, strict=True):
        height, width = clip.shape[1:3]
        row, column = np.mgrid[:height, :width]
        parts = []
        for before, after, move, is_seen in zip(clip[:-1], clip[1:], moves, seen, strict=True):
            x = np.clip(np.round(column + move[..., 0]).astype(int), 0, width - 1)
            y = np.clip(np.round(row + move[..., 1]).astype(int), 0, height - 1)
            parts.append(np.abs(after[y, x] - before).mean(-1)[is_seen])
        found.append(np.concatenate(parts).mean())
    return np.array(found)


def identity(clips: Clips, features: Callable[[np.ndarray], np.ndarray]) -> Float[np.ndarray, " n"]:
    """Returns the cosine of the features of each first and last frame."""
    unit = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)
    first, last = (unit(features(np.ascontiguousarray(clips[:, i]))) for i in (0, -1))
    return (first * last).sum(1)


def heights(clips: Clips, threshold: float = 0.3) -> Float[np.ndarray, "n f"]:
    """Returns the height, 0 at the top to 1, of what differs from a plain ground; NaN of nothing.

    The ground is the median colour of the frame's edge.
    """
    found = np.full(clips.shape[:2], np.nan)
    rows = (np.arange(clips.shape[2]) + 0.5) / clips.shape[2]
    for n, clip in enumerate(clips):
        for f, frame in enumerate(clip):
            edge = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
            thing = np.abs(frame - np.median(edge, axis=0)).max(-1) > threshold
            if thing.sum() >= 4:
                found[n, f] = (rows[:, None] * thing).sum() / thing.sum()
    return found


def accelerations(clips: Clips) -> Float[np.ndarray, " n"]:
    """Returns the acceleration of the one thing on a plain ground, in heights per frame squared.

    Twice the square term of a parabola through its heights until the lowest; NaN where fewer than
    four frames show it falling.
    """
    found = []
    for y in heights(clips):
        until = int(np.nanargmax(y)) + 1 if np.isfinite(y).any() else 0
        seen = np.flatnonzero(np.isfinite(y[:until]))
        enough = len(seen) >= 4
        found.append(2 * np.polyfit(seen, y[seen], 2)[0] if enough else np.nan)
    return np.array(found)


def _residual(clip: Float[np.ndarray, "f h w c"]) -> float:
    before, after = clip[:-1], clip[1:]
    padded = np.pad(before, ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    height, width = clip.shape[1:3]
    best = np.full(after.shape[:3], np.inf)
    left = np.zeros_like(best)
    for down in range(2 * REACH + 1):
        for across in range(2 * REACH + 1):
            moved = padded[:, down : down + height, across : across + width]
            error = np.abs(after - moved).mean(-1)
            around = uniform_filter(error, size=(0, WINDOW, WINDOW), mode="nearest")
            better = around < best - 1e-9
            best, left = np.where(better, around, best), np.where(better, error, left)
    return float(left.mean())
