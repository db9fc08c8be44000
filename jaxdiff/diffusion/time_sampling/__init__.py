"""Training times: maps from uniform numbers to t, by inverse distribution functions.

Each has `quantile(process, u)`; calling it draws one independent u per example. `Stratified`
spreads the batch's numbers evenly instead, and `LossAware` puts them where losses are large.
"""

from jaxdiff.diffusion.time_sampling.base import Quantile, TimeSampling
from jaxdiff.diffusion.time_sampling.by_noise_level import EDMLogNormal, KarrasUniform, LogStudent
from jaxdiff.diffusion.time_sampling.by_time import (
    CosineMap,
    Discrete,
    LogitNormal,
    Mode,
    Uniform,
)
from jaxdiff.diffusion.time_sampling.composed import (
    Discretized,
    LossAware,
    PerFrame,
    Stratified,
    WithLevel,
)

KIND = TimeSampling
"""The kind of objects that the names of this module build."""

__all__ = [
    "CosineMap",
    "Discrete",
    "Discretized",
    "EDMLogNormal",
    "KarrasUniform",
    "LogStudent",
    "LogitNormal",
    "LossAware",
    "Mode",
    "PerFrame",
    "Quantile",
    "Stratified",
    "TimeSampling",
    "Uniform",
    "WithLevel",
]
