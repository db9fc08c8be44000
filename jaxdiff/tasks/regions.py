"""Parts of pictures with prompts of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdiff.diffusion.guidance.regions import Regional, fitted_mask
from jaxdiff.options import NonNegativeFloat, checked
from jaxdiff.typing import Cond, Denoiser


@checked
@dataclass(frozen=True)
class Region:
    """A part of the pictures with conditions of its own; those of the call hold elsewhere.

    Attributes:
        cond: a prompt, or conditions by name, one value for all samples or one for each.
        mask: [h, w] for all samples, or [n, h, w], in [0, 1]; of any size, that of the pictures.
        weight: factor of the mask: below 1 the call's conditions have the rest; where regions
            overlap, their shares.
    """

    cond: Any
    mask: Any
    weight: NonNegativeFloat = 1.0

    @property
    def conditions(self) -> dict[str, Any]:
        """Returns the conditions by name."""
        return {"text": self.cond} if isinstance(self.cond, str) else dict(self.cond)


def check(
    num: int,
    regions: Sequence[Region],
    latent_shape: Sequence[int],
    prepare: Callable[[int, Mapping[str, Any]], Any],
) -> list[tuple[np.ndarray, Any]]:
    """Returns the weights [num, h, w, 1] of regions in latents, and their prepared conditions.

    Raises:
        ValueError: samples are no images; a mask has another shape, or values outside [0, 1].
    """
    if regions and len(latent_shape) < 3:
        raise ValueError(f"regions: they are of images, and samples have shape {latent_shape}")
    return [(_weights(num, one, latent_shape), prepare(num, one.conditions)) for one in regions]


def regional(denoiser: Denoiser, regions: Sequence[tuple[Any, Cond]]) -> Denoiser:
    """Returns the denoiser that reads further conditions, each where its weights are."""
    if not regions:
        return denoiser
    weights, conditions = zip(*regions, strict=True)
    return Regional(conditions, weights)(denoiser)


def _weights(num: int, one: Region, latent_shape: Sequence[int]) -> np.ndarray:
    mask = np.asarray(one.mask, np.float32)
    if mask.ndim not in (2, 3) or (mask.ndim == 3 and len(mask) != num):
        raise ValueError(
            f"regions: a mask has shape {mask.shape}; expected [h, w], or [{num}, h, w]"
        )
    if not (mask.size and mask.min() >= 0 and mask.max() <= 1):
        raise ValueError("regions: a mask has values that are not in [0, 1]")
    mask = mask[None] if mask.ndim == 2 else mask
    return one.weight * np.asarray(fitted_mask(mask, (num, *latent_shape)))
