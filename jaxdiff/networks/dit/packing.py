"""Packing clips of different sizes and durations into rows (Dehghani et al., 2023).

Rows have one length, so that one compiled program serves all sizes. A token attends to tokens of
its own clip and has the time and conditions of its own clip: the output equals that of each clip
alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Integer, Shaped

from jaxdiff.networks.dit.patches import from_patches, grid_of, to_patches
from jaxdiff.networks.dit.positions import Grid, Places


class Packed(NamedTuple):
    """Rows of patches, each with its place in its clip and its clip's number in the row.

    The number of padding is -1.
    """

    patches: Float[Array | np.ndarray, "b n p"]
    places: Float[Array | np.ndarray, "b n 3"]
    segments: Integer[Array | np.ndarray, "b n"]


class Slot(NamedTuple):
    """The slot of a clip: its row, its number in the row, its first patch, and its grid."""

    row: int
    segment: int
    first: int
    grid: Grid


def plan(
    sizes: Sequence[Sequence[int]], patch: Sequence[int], length: int
) -> tuple[list[Slot], int]:
    """Assigns clips of sizes (frames, height, width) to rows of `length` patches.

    Each clip, the longest first, goes into the first row with room. Returns a slot for each clip
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
    """Returns clips in their slots; `places` is that of the network's positions."""
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
    """Returns each clip's time or condition at its row and number, and zeros elsewhere."""
    out = np.zeros((rows, segments, *values.shape[1:]), values.dtype)
    for value, slot in zip(values, slots, strict=True):
        out[slot.row, slot.segment] = value
    return out


def same_segment(segments: Integer[Array, "b n"]) -> Bool[Array, "b n n"]:
    """Returns whether two tokens belong to one clip; padding attends to padding."""
    return segments[:, :, None] == segments[:, None, :]


def same_clip_as_text(
    segments: Integer[Array, "b n"], clips: int, tokens: int, mask: Bool[Array, "b_clips m"] | None
) -> Bool[Array, "b n clips_m"]:
    """Returns whether a token and a token of a text belong to one clip.

    Texts of `tokens` tokens are in the order of the clips in a row; tokens where their `mask` is
    False belong to no clip.
    """
    owner = repeat(jnp.arange(clips), "s -> (s m)", m=tokens)
    same = segments[:, :, None] == owner
    return same if mask is None else same & rearrange(mask, "(b s) m -> b 1 (s m)", s=clips)
