"""Maps for networks that read more than latents: a masked picture to complete, or depth."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from einops import reduce
from jaxtyping import Bool, Float

MASK, MASKED, DEPTH = "mask", "masked_image", "depth"


def maps_of(
    maps: Mapping[str, int],
    num: int,
    size: tuple[int, int],
    factor: int,
    encode: Callable[[Any], Any],
    *,
    image: Any,
    mask: Any,
    depth: Any,
) -> dict[str, Float[np.ndarray, "n h w c"]]:
    """Returns the maps that a network reads always, of the size of latents.

    Args:
        maps: the channels of each by name, as in `Inputs`.
        num: the number of pictures; `size`, their height and width; `factor`, how many times as
            large as latents they are.
        encode: from pictures to latents.
        image: [num, h, w, c] in [-1, 1]; `mask`, True where it is known; for inpainting.
        depth: [h, w] or [num, h, w], larger is nearer, of any range; for depth.

    Raises:
        ValueError: a map is missing, or of another size.
    """
    found = {}
    if MASK in maps:
        if image is None or mask is None:
            raise ValueError("this model completes pictures: give image and mask, True where known")
        known = known_of(mask, num, size)
        # Grey stands in the place of the pixels that are to be painted.
        found[MASKED] = np.asarray(encode(np.where(known[..., None], image, 0.0)))
        # The upper left pixel of each square says whether the square is to be painted.
        found[MASK] = np.float32(~known[:, ::factor, ::factor, None])
    if DEPTH in maps:
        if depth is None:
            raise ValueError("this model follows depth: give depth, a map [h, w]")
        found[DEPTH] = depth_of(depth, num, size, factor)
    elif depth is not None:
        raise ValueError("depth is given, but the model does not read it")
    return found


def known_of(mask: Any, num: int, size: tuple[int, int]) -> Bool[np.ndarray, "n h w"]:
    """Returns for each picture which pixels are known.

    Raises:
        ValueError: the mask has another size, or is no mask.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape not in (size, (num, *size)):
        raise ValueError(
            f"mask is {mask.dtype}{list(mask.shape)}; expected bool{list(size)}, True where known"
        )
    return np.broadcast_to(mask, (num, *size))


def depth_of(
    depth: Any, num: int, size: tuple[int, int], factor: int
) -> Float[np.ndarray, "n h w 1"]:
    """Returns depth in [-1, 1] by the mean of each square, 1 for the nearest of each picture.

    Raises:
        ValueError: the map has another size, or is the same everywhere.
    """
    depth = np.asarray(depth, np.float32)
    if depth.shape not in (size, (num, *size)):
        raise ValueError(f"depth has shape {depth.shape}; expected {size}, or {(num, *size)}")
    depth = np.broadcast_to(depth, (num, *size))
    small = reduce(depth, "n (h p) (w q) -> n h w 1", "mean", p=factor, q=factor)
    low, high = (f(small, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    if not (high > low).all():
        raise ValueError("depth is the same everywhere")
    return 2 * (small - low) / (high - low) - 1
