"""Inverse problems: x0 from known pixels, or from a measurement `operator(x0) + noise`.

A method is guidance (a function from denoiser to denoiser) or, for RePaint, a solver around a
solver. Masks, images and measurements are arrays of the method, one for each example, and go
through `jax.jit` as arguments: a new mask compiles nothing. `in_latents` returns the same problem
for the latents of a codec.
"""

from jaxdiff.diffusion.guidance.branches import Guidance
from jaxdiff.diffusion.inverse.known_pixels import KnownPixels
from jaxdiff.diffusion.inverse.likelihoods import DPS, PiGDM
from jaxdiff.diffusion.inverse.repaint import RePaint
from jaxdiff.typing import Solver

KIND = Guidance | Solver
"""The kind of objects that the names of this module build."""

__all__ = ["DPS", "KnownPixels", "PiGDM", "RePaint"]
