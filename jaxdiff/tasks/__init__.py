"""Tasks: what is trained. A file each: its weights, its batches, its losses, its samples."""

from jaxdiff.tasks.diffusion import Diffusion
from jaxdiff.tasks.gan import GAN

__all__ = ["GAN", "Diffusion"]
