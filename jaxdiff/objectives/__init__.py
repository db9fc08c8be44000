"""What is minimised: `(roles, x0, cond, draw, step) -> (loss [b], metrics [b])`."""

from jaxdiff.objectives.denoising import Denoising
from jaxdiff.objectives.learned_uncertainty import LearnedUncertainty
from jaxdiff.objectives.learned_variance import LearnedVariance
from jaxdiff.objectives.variational_bound import VariationalBound
from jaxdiff.typing import Objective

KIND = Objective
"""What a name of this module makes."""

__all__ = ["Denoising", "LearnedUncertainty", "LearnedVariance", "VariationalBound"]
