"""Timestep grids: the decreasing times [steps + 1] at which a solver stops, ending at the data."""

from jaxdiff.diffusion.timesteps.checks import Timesteps
from jaxdiff.diffusion.timesteps.levels import (
    AlignYourSteps,
    Exponential,
    Karras,
    LogSNR,
    Restarting,
)
from jaxdiff.diffusion.timesteps.measured import Measured
from jaxdiff.diffusion.timesteps.places import (
    Beta,
    Leading,
    Linspace,
    Power,
    SGMUniform,
    Trailing,
    Uniform,
)

__all__ = [
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
