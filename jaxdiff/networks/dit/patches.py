"""Patches in space and time: from a clip to tokens, and back."""

import math
from collections.abc import Sequence

import einops
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.networks.dit.positions import Grid

_TOKENS = "b (f pf) (h ph) (w pw) c -> b (f h w) (pf ph pw c)"
_CLIP = "b (f h w) (pf ph pw c) -> b (f pf) (h ph) (w pw) c"


def grid_of(size: Sequence[int], patch: Sequence[int]) -> Grid:
    """Returns how many patches a clip of size (frames, height, width) has along each axis.

    Raises:
        ValueError: the patches do not divide it; names the nearest sizes that they do.
    """
    if any(n < 1 or n % p for n, p in zip(size, patch, strict=True)):
        nearest = [
            sorted({max(n // p, 1) * p, -(-n // p) * p}) for n, p in zip(size, patch, strict=True)
        ]
        could = " x ".join(" or ".join(map(str, both)) for both in nearest)
        raise ValueError(
            f"size {tuple(size)} (frames, height, width) is not made of patches {tuple(patch)};"
            f" the nearest is {could}"
        )
    return tuple(n // p for n, p in zip(size, patch, strict=True))


def to_patches(
    x: Float[Array | np.ndarray, "b f h w c"], patch: Sequence[int]
) -> tuple[Float[Array | np.ndarray, "b n p"], Grid]:
    """Returns the patches, frame by frame and row by row, and how many there are along each axis.

    Raises:
        ValueError: the patches do not divide the clip.
    """
    grid = grid_of(x.shape[1:4], patch)
    return einops.rearrange(x, _TOKENS, **_sizes(grid, patch)), grid


def from_patches(
    patches: Float[Array | np.ndarray, "b n p"], grid: Grid, patch: Sequence[int]
) -> Float[Array | np.ndarray, "b f h w c"]:
    """Returns the clip of patches."""
    return einops.rearrange(patches, _CLIP, **_sizes(grid, patch))


def patch_size(patch: Sequence[int]) -> int:
    """Returns how many places of a clip are in a patch.

    Raises:
        ValueError: these are not three positive sizes.
    """
    if len(patch) != 3 or min(patch) < 1:
        raise ValueError(f"patch={tuple(patch)}: three positive sizes (frames, height, width)")
    return math.prod(patch)


def _sizes(grid: Grid, patch: Sequence[int]) -> dict[str, int]:
    return dict(zip(("f", "h", "w"), grid, strict=True)) | dict(
        zip(("pf", "ph", "pw"), patch, strict=True)
    )
