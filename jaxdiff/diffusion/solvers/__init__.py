"""Solvers of the reverse process, each a few lines; `sampling.sample` is the loop.

With x̂ = x/alpha and ŝ = sigma/alpha, the probability flow of every Gaussian process is
dx̂/dŝ = noise ("noise coordinates"), and d(x/sigma)/d(alpha/sigma) = x0 ("data coordinates"). The
steps are written so that they hold at alpha = 0 and at sigma = 0 as well; where a method has no
meaning there, it takes DDIM's step.
"""

from jaxdiff.diffusion.solvers.adaptive import Adaptive
from jaxdiff.diffusion.solvers.ancestral import (
    DDIM,
    DDPM,
    Ancestral,
    DPM2Ancestral,
    DPMpp2SAncestral,
    EulerAncestral,
)
from jaxdiff.diffusion.solvers.few_step import LCM, TCD, Consistency, FlowMap
from jaxdiff.diffusion.solvers.langevin import AnnealedLangevin, PredictorCorrector
from jaxdiff.diffusion.solvers.multistep import DEIS, IPNDM, LMS, PLMS, PNDM
from jaxdiff.diffusion.solvers.predictor_corrector import (
    DataMultistep,
    DPMpp2M,
    DPMpp2MSDE,
    DPMpp3M,
    DPMpp3MSDE,
    SASolver,
    UniPC,
)
from jaxdiff.diffusion.solvers.single_step import (
    DPM2,
    RK4,
    DPMpp1,
    DPMpp2S,
    DPMSolver1,
    DPMSolver2,
    DPMSolver3,
    Euler,
    Heun,
    Midpoint,
)
from jaxdiff.diffusion.solvers.stochastic import (
    DPMppSDE,
    EDMStochastic,
    EulerMaruyama,
    Restart,
)
from jaxdiff.typing import Solver

KIND = Solver
"""The kind of objects that the names of this module build."""

__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "DPM2",
    "IPNDM",
    "LCM",
    "LMS",
    "PLMS",
    "PNDM",
    "RK4",
    "TCD",
    "Adaptive",
    "Ancestral",
    "AnnealedLangevin",
    "Consistency",
    "DPM2Ancestral",
    "DPMSolver1",
    "DPMSolver2",
    "DPMSolver3",
    "DPMpp1",
    "DPMpp2M",
    "DPMpp2MSDE",
    "DPMpp2S",
    "DPMpp2SAncestral",
    "DPMpp3M",
    "DPMpp3MSDE",
    "DPMppSDE",
    "DataMultistep",
    "EDMStochastic",
    "Euler",
    "EulerAncestral",
    "EulerMaruyama",
    "FlowMap",
    "Heun",
    "Midpoint",
    "PredictorCorrector",
    "Restart",
    "SASolver",
    "UniPC",
]
