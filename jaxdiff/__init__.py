"""jaxdiff: diffusion models in JAX."""

from jaxdiff.experiment import Experiment
from jaxdiff.run import Run, load

__all__ = ["Experiment", "Run", "load"]
