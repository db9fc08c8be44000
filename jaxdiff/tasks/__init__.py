"""Tasks: what is trained. A file each: its weights, its batches, its losses, its samples."""

from jaxdiff.tasks.autoencoder import Autoencoder
from jaxdiff.tasks.contrastive import Contrastive
from jaxdiff.tasks.diffusion import Diffusion
from jaxdiff.tasks.gan import GAN
from jaxdiff.training.task import Task

KIND = Task
"""The kind of objects that the names of this module build."""

__all__ = ["GAN", "Autoencoder", "Contrastive", "Diffusion"]
