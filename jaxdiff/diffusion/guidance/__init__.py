"""Guidance: functions from denoisers to denoisers, which compose; no solver knows of them.

Configs name guidance as a string, `"Interval(low=0.2, of=CFGZeroStar())"`. Guidance by a classifier
or a loss is given as an object.
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
from jaxdiff.diffusion.guidance.regions import Regional
from jaxdiff.diffusion.guidance.windows import Windows
from jaxdiff.diffusion.guidance.wrappers import (
    FROM,
    GUIDANCE,
    TO,
    AsInput,
    Composed,
    DynamicThreshold,
    Interval,
    Negative,
    StaticThreshold,
)

KIND = Guidance
"""The kind of objects that the names of this module build."""

__all__ = [
    "FROM",
    "GUIDANCE",
    "TO",
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
    "Regional",
    "Rescaled",
    "Scale",
    "StaticThreshold",
    "Windows",
    "classifier_free",
    "is_off",
    "simplified",
]
