"""Guidance: functions from denoisers to denoisers, which compose; no solver knows of them.

Configs name those that a string can describe, `"Interval(low=0.2, of=CFGZeroStar())"`; what needs
another model, a classifier or a measurement is given as an object.
"""

from jaxdiff.diffusion.guidance.branches import Guidance
from jaxdiff.diffusion.guidance.extrapolation import (
    AdaptiveProjected,
    AutoGuidance,
    CFGPlusPlus,
    CFGZeroStar,
    ClassifierFree,
    LinearScale,
    Rescaled,
    Scale,
    classifier_free,
    is_off,
    simplified,
)
from jaxdiff.diffusion.guidance.likelihoods import ClassifierGuidance, LossGuidance
from jaxdiff.diffusion.guidance.wrappers import (
    AsInput,
    Composed,
    DynamicThreshold,
    Interval,
    Negative,
    StaticThreshold,
)

KIND = Guidance
"""What a name of this module makes."""

__all__ = [
    "AdaptiveProjected",
    "AsInput",
    "AutoGuidance",
    "CFGPlusPlus",
    "CFGZeroStar",
    "ClassifierFree",
    "ClassifierGuidance",
    "Composed",
    "DynamicThreshold",
    "Interval",
    "LinearScale",
    "LossGuidance",
    "Negative",
    "Rescaled",
    "Scale",
    "StaticThreshold",
    "classifier_free",
    "is_off",
    "simplified",
]
