"""Timestep grids: the decreasing times [steps + 1] at which a solver stops, ending at the data."""

from jaxdiff.diffusion.timesteps.by_noise_level import (
    AlignYourSteps,
    ConsistencyLevels,
    Exponential,
    Karras,
    LogSNR,
    Respaced,
    Restarting,
)
from jaxdiff.diffusion.timesteps.by_time import (
    Beta,
    Leading,
    Linspace,
    Power,
    SGMUniform,
    Shifted,
    Skipping,
    Trailing,
    Uniform,
)
from jaxdiff.diffusion.timesteps.checks import Timesteps
from jaxdiff.diffusion.timesteps.measured import Measured

KIND = Timesteps
"""The kind of objects that the names of this module build."""

__all__ = [
    "AlignYourSteps",
    "Beta",
    "ConsistencyLevels",
    "Exponential",
    "Karras",
    "Leading",
    "Linspace",
    "LogSNR",
    "Measured",
    "Power",
    "Respaced",
    "Restarting",
    "SGMUniform",
    "Shifted",
    "Skipping",
    "Timesteps",
    "Trailing",
    "Uniform",
]
