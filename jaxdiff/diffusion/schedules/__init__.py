"""Noise schedules: `alpha(t)` and `sigma(t)` of `x_t = alpha·x0 + sigma·noise`, for t in [0, 1].

t = 0 is data (`sigma = 0`, but for `Learned`) and t = 1 is noise. Log-SNR and derivatives follow by
autodiff, in `process.py`. Each function takes and returns arrays of any shape.
"""

from jaxdiff.diffusion.schedules.continuous import (
    EDM,
    GVP,
    Cosine,
    Laplace,
    LinearBeta,
    RectifiedFlow,
    Schedule,
    Sigmoid,
    SubVP,
    TrigFlow,
    VarianceExploding,
)
from jaxdiff.diffusion.schedules.learned import Learned
from jaxdiff.diffusion.schedules.tables import (
    Tabulated,
    cosine_betas,
    linear_betas,
    scaled_linear_betas,
)
from jaxdiff.diffusion.schedules.wrappers import LogSNRShift, ZeroTerminalSNR

KIND = Schedule
"""The kind of objects that the names of this module build."""

__all__ = [
    "EDM",
    "GVP",
    "Cosine",
    "Laplace",
    "Learned",
    "LinearBeta",
    "LogSNRShift",
    "RectifiedFlow",
    "Schedule",
    "Sigmoid",
    "SubVP",
    "Tabulated",
    "TrigFlow",
    "VarianceExploding",
    "ZeroTerminalSNR",
    "cosine_betas",
    "linear_betas",
    "scaled_linear_betas",
]
