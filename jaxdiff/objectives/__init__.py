"""Objectives: `(roles, x0, cond, draw, step) -> (loss [b], metrics [b])`."""

from jaxdiff.objectives.adversarial_distillation import AdversarialDistillation
from jaxdiff.objectives.consistency import (
    ConsistencyDistillation,
    ConsistencyTraining,
    EasyConsistency,
    ImprovedConsistency,
    TruncatedConsistency,
)
from jaxdiff.objectives.continuous_consistency import ContinuousConsistency
from jaxdiff.objectives.denoising import Denoising
from jaxdiff.objectives.distillation import (
    GuidanceDistillation,
    LatentConsistency,
    ProgressiveDistillation,
    Reflow,
)
from jaxdiff.objectives.distribution_matching import DistributionMatching
from jaxdiff.objectives.drifting import Drifting
from jaxdiff.objectives.flow_matching import EulerianMap, LagrangianMap, SemigroupMap
from jaxdiff.objectives.improved_mean_flow import ImprovedMeanFlow
from jaxdiff.objectives.learned_uncertainty import LearnedUncertainty
from jaxdiff.objectives.learned_variance import LearnedVariance
from jaxdiff.objectives.masked_autoencoding import MaskedAutoencoding
from jaxdiff.objectives.mean_flow import AlphaFlow, MeanFlow, Shortcut
from jaxdiff.objectives.moment_matching import MomentMatching
from jaxdiff.objectives.online import DiffusionNFT, FlowGRPO
from jaxdiff.objectives.preferences import DiffusionDPO
from jaxdiff.objectives.published import Published
from jaxdiff.objectives.sliders import Slider
from jaxdiff.objectives.trajectory_consistency import TrajectoryConsistency
from jaxdiff.objectives.variational_bound import VariationalBound
from jaxdiff.typing import Objective

KIND = Objective
"""The kind of objects that the names of this module build."""

__all__ = [
    "AdversarialDistillation",
    "AlphaFlow",
    "ConsistencyDistillation",
    "ConsistencyTraining",
    "ContinuousConsistency",
    "Denoising",
    "DiffusionDPO",
    "DiffusionNFT",
    "DistributionMatching",
    "Drifting",
    "EasyConsistency",
    "EulerianMap",
    "FlowGRPO",
    "GuidanceDistillation",
    "ImprovedConsistency",
    "ImprovedMeanFlow",
    "LagrangianMap",
    "LatentConsistency",
    "LearnedUncertainty",
    "LearnedVariance",
    "MaskedAutoencoding",
    "MeanFlow",
    "MomentMatching",
    "ProgressiveDistillation",
    "Published",
    "Reflow",
    "SemigroupMap",
    "Shortcut",
    "Slider",
    "TrajectoryConsistency",
    "TruncatedConsistency",
    "VariationalBound",
]
