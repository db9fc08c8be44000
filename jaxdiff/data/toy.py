"""Toy densities on a line and in the plane, each defined by its sampler.

A sampler maps uniform numbers `u` [n, 4] in [0, 1) to points [n, d] and labels [n], or None.
"""

from typing import Annotated

import numpy as np
from jaxtyping import Float, Int

from jaxdiff.options import Filled, NonNegativeFloat, PositiveFloat

Uniform = Float[np.ndarray, "n 4"]
Points = Float[np.ndarray, "n d"]
Labels = Int[np.ndarray, " n"]


def three_peaks(
    u: Uniform,
    weights: Annotated[tuple[PositiveFloat, ...], Filled()] = (0.3, 0.5, 0.2),
    means: Annotated[tuple[float, ...], Filled()] = (-1.5, 0.0, 1.2),
    stds: Annotated[tuple[NonNegativeFloat, ...], Filled()] = (0.2, 0.3, 0.15),
) -> tuple[Points, Labels]:
    """Draws numbers from a mixture of Gaussians; the label is the component."""
    label = np.searchsorted(np.cumsum(weights)[:-1], u[:, 0], side="right")
    x = np.take(means, label) + np.take(stds, label) * _normal(u[:, 2:])[:, 0]
    return x[:, None], label


def eight_gaussians(
    u: Uniform, radius: PositiveFloat = 2.0, std: NonNegativeFloat = 0.2
) -> tuple[Points, Labels]:
    """Draws from Gaussians on a circle, at the angles k·45°; the label is k."""
    label = np.floor(8 * u[:, 0]).astype(int)
    return radius * _circle(label / 8) + std * _normal(u[:, 2:]), label


def rings(
    u: Uniform,
    radii: Annotated[tuple[PositiveFloat, ...], Filled()] = (0.5, 1.0, 1.5, 2.0),
    std: NonNegativeFloat = 0.05,
) -> tuple[Points, Labels]:
    """Draws from concentric rings of equal weight; the label is the ring."""
    label = np.floor(len(radii) * u[:, 0]).astype(int)
    return np.take(radii, label)[:, None] * _circle(u[:, 1]) + std * _normal(u[:, 2:]), label


def two_moons(u: Uniform, std: NonNegativeFloat = 0.1) -> tuple[Points, Labels]:
    """Draws from two interleaved half circles of radius 1, centred; the label is the moon."""
    label = np.floor(2 * u[:, 0]).astype(int)
    upper = _circle(u[:, 1] / 2) - np.array([0.5, 0.25])
    moon = np.where(label[:, None] == 0, upper, -upper)
    return moon + std * _normal(u[:, 2:]), label


def swiss_roll(
    u: Uniform, radius: PositiveFloat = 2.0, std: NonNegativeFloat = 0.05
) -> tuple[Points, None]:
    """Draws from a spiral of one and a half turns, from a third of `radius` to `radius`."""
    fraction = (1 + 2 * u[:, :1]) / 3
    return radius * fraction * _circle(2.25 * fraction[:, 0]) + std * _normal(u[:, 2:]), None


def checkerboard(u: Uniform) -> tuple[Points, Labels]:
    """Draws evenly from the dark squares of a 4x4 board on [-2, 2)²; the label is the square."""
    label = np.floor(8 * u[:, 0]).astype(int)
    row = label // 2
    column = 2 * (label % 2) + row % 2
    return np.stack([column, row], axis=1) + u[:, 1:3] - 2, label


def _circle(turn: Float[np.ndarray, " n"]) -> Points:
    return np.stack([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)], axis=1)


def _normal(u: Float[np.ndarray, "n 2"]) -> Points:
    """Box & Muller (1958)."""
    return np.sqrt(-2 * np.log1p(-u[:, :1])) * _circle(u[:, 1])
