"""Tasks: what is trained. A file each: its weights, its batches, its losses, its samples."""

from jaxdiff.tasks.diffusion import Diffusion

__all__ = ["Diffusion"]
