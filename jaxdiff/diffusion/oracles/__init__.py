"""Exact denoisers and flow maps: distributions for which everything is known."""

from jaxdiff.diffusion.oracles.densities import Gaussian, GaussianMixture
from jaxdiff.diffusion.oracles.flow_maps import FlowMap

__all__ = ["FlowMap", "Gaussian", "GaussianMixture"]
