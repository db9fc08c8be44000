"""Clips of different sizes and durations, side by side in rows (Dehghani et al., 2023).

Rows have one length, so that one compiled program serves them all. A token attends to those of its
own clip only, and is told its own clip's time and conditions: what comes out is what each clip
alone would give.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Shaped

from jaxdiff.networks.dit.patches import from_patches, grid_of, to_patches
from jaxdiff.networks.dit.positions import Grid, Places


class Packed(NamedTuple):
    """Rows of patches, each with its place in its clip and its clip's number in the row.

    The number is -1 where there is nothing.
    """

    patches: Float[Array | np.ndarray, "b n p"]
    places: Float[Array | np.ndarray, "b n 3"]
    segments: Integer[Array | np.ndarray, "b n"]


class Slot(NamedTuple):
    """Where a clip is: its row, its number there, its first patch, and its grid."""

    row: int
    segment: int
    first: int
    grid: Grid


def plan(
    sizes: Sequence[Sequence[int]], patch: Sequence[int], length: int
) -> tuple[list[Slot], int]:
    """Finds a place for clips of sizes (frames, height, width) in rows of `length` patches.

    The longest is placed first, each in the first row that has room. Returns a slot for each clip
    and the number of rows.

    Raises:
        ValueError: a clip is longer than a row, or is not made of patches.
    """
    grids = [grid_of(size, patch) for size in sizes]
    counts = [int(np.prod(grid)) for grid in grids]
    filled, members, slots = [], [], {}
    for i in sorted(range(len(grids)), key=lambda i: -counts[i]):
        if counts[i] > length:
            raise ValueError(
                f"a clip of size {tuple(sizes[i])} is {counts[i]} patches long: more than a row of"
                f" length={length}"
            )
        row = next((r for r, n in enumerate(filled) if n + counts[i] <= length), len(filled))
        if row == len(filled):
            filled.append(0)
            members.append(0)
        slots[i] = Slot(row, members[row], filled[row], grids[i])
        filled[row] += counts[i]
        members[row] += 1
    return [slots[i] for i in range(len(grids))], len(filled)


def pack(
    clips: Sequence[Float[np.ndarray, "_ _ _ c"]],
    slots: Sequence[Slot],
    rows: int,
    length: int,
    patch: Sequence[int],
    places: Places,
) -> Packed:
    """Returns clips in their slots; `places` are those of the network's positions."""
    width = int(np.prod(patch)) * clips[0].shape[-1]
    patches = np.zeros((rows, length, width), np.float32)
    where = np.zeros((rows, length, 3), np.float32)
    segments = np.full((rows, length), -1, np.int32)
    for clip, slot in zip(clips, slots, strict=True):
        taken = slot.row, slice(slot.first, slot.first + int(np.prod(slot.grid)))
        patches[taken] = to_patches(clip[None], patch)[0][0]
        where[taken] = places(slot.grid)
        segments[taken] = slot.segment
    return Packed(patches, where, segments)


def unpack(
    patches: Float[Array | np.ndarray, "b n p"], slots: Sequence[Slot], patch: Sequence[int]
) -> list[Float[Array | np.ndarray, "_ _ _ c"]]:
    """Returns the clips of rows, in the order of their slots."""
    clips = []
    for slot in slots:
        taken = patches[slot.row, slot.first : slot.first + int(np.prod(slot.grid))]
        clips.append(from_patches(taken[None], slot.grid, patch)[0])
    return clips


def in_slots(
    values: Shaped[np.ndarray, "clips *shape"], slots: Sequence[Slot], rows: int, segments: int
) -> Shaped[np.ndarray, "rows segments *shape"]:
    """Returns each clip's time or condition at its row and number, zeros where no clip is."""
    out = np.zeros((rows, segments, *values.shape[1:]), values.dtype)
    for value, slot in zip(values, slots, strict=True):
        out[slot.row, slot.segment] = value
    return out


def same_segment(segments: Integer[Array, "b n"]) -> Bool[Array, "b n n"]:
    """Returns which tokens belong to one clip; those of none attend to each other."""
    return segments[:, :, None] == segments[:, None, :]
