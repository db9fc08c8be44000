"""Timestep grids: the decreasing times [steps + 1] at which a solver stops, ending at the data."""

from jaxdiff.diffusion.timesteps.measured import Measured
from jaxdiff.diffusion.timesteps.spacings import (
    ALIGNED,
    AlignYourSteps,
    Beta,
    Exponential,
    Karras,
    Leading,
    Linspace,
    LogSNR,
    Power,
    Restarting,
    SGMUniform,
    Timesteps,
    Trailing,
    Uniform,
)

__all__ = [
    "ALIGNED",
    "AlignYourSteps",
    "Beta",
    "Exponential",
    "Karras",
    "Leading",
    "Linspace",
    "LogSNR",
    "Measured",
    "Power",
    "Restarting",
    "SGMUniform",
    "Timesteps",
    "Trailing",
    "Uniform",
]
