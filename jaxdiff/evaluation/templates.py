"""How well a picture shows one drawing, wherever it lies in it: normalised cross-correlation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import signal


class Template(NamedTuple):
    """A drawing of one size and angle, and the pixels that belong to it."""

    values: Float[np.ndarray, "h w c"]
    inside: Bool[np.ndarray, "h w"]


def correlation(image: Float[np.ndarray, "height width c"], template: Template) -> float:
    """Returns the largest correlation in [-1, 1] of a template with a part of a picture.

    1 where the part is the drawing up to its contrast and a shift of each channel; about 0 where
    it is a blot of the drawing's colour. What lies around the drawing does not count.

    Raises:
        ValueError: the template is larger than the picture.
    """
    inside = template.inside[..., None].astype(np.float64)
    if any(of > by for of, by in zip(inside.shape, image.shape[:2], strict=False)):
        raise ValueError(
            f"A template of {template.values.shape} is larger than a picture of {image.shape}."
        )
    count = inside.sum()
    pattern = inside * (template.values - (inside * template.values).sum((0, 1)) / count)
    slid = lambda x, over: signal.fftconvolve(
        x, over[::-1, ::-1], mode="valid", axes=(0, 1)
    )  # A convolution with the mirrored template is a correlation.
    product = slid(image, pattern).sum(-1)
    spread = (slid(image**2, inside) - slid(image, inside) ** 2 / count).sum(-1)
    # Flat parts have no direction; the bound keeps the rounding of the transform out of them.
    flat = 1e-4 * count * image.shape[-1]
    return float(np.max(product / np.sqrt(np.maximum(spread, flat) * (pattern**2).sum())))


def resemblance(image: Float[np.ndarray, "height width c"], templates: Sequence[Template]) -> float:
    """Returns the largest correlation with any of the templates, in [-1, 1]."""
    return max(correlation(image, each) for each in templates)
