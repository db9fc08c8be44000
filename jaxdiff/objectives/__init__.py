"""What is minimised: `(roles, x0, cond, draw, step) -> (loss [b], metrics [b])`."""

from jaxdiff.objectives.denoising import Denoising

__all__ = ["Denoising"]
