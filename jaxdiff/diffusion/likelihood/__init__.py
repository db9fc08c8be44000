"""Likelihoods: by the probability flow (`flow.py`) and by the variational bound (`bound.py`).

Data x are [b, ...]; log-densities and bounds are in nats per example. `bits_per_dimension` turns
them into the figure that papers report.
"""

from jaxdiff.diffusion.likelihood.bound import Bound, continuous_bound, variational_bound
from jaxdiff.diffusion.likelihood.dequantization import Continuous, TruncatedNormal, Uniform
from jaxdiff.diffusion.likelihood.divergence import Exact, Hutchinson
from jaxdiff.diffusion.likelihood.flow import bits_per_dimension, log_density
from jaxdiff.diffusion.likelihood.integrators import RK4, Adaptive, Heun

__all__ = [
    "RK4",
    "Adaptive",
    "Bound",
    "Continuous",
    "Exact",
    "Heun",
    "Hutchinson",
    "TruncatedNormal",
    "Uniform",
    "bits_per_dimension",
    "continuous_bound",
    "log_density",
    "variational_bound",
]
