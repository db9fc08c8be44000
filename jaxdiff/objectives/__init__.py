"""What is minimised: `(roles, x0, cond, draw, step) -> (loss [b], metrics [b])`."""

from jaxdiff.objectives.denoising import Denoising
from jaxdiff.objectives.learned_variance import LearnedVariance

__all__ = ["Denoising", "LearnedVariance"]
