"""Networks: `network(x, time, cond, dropout_keys)`, in Flax Linen, which nothing else sees."""

from jaxdiff.networks.layers import Fourier, SinCos
from jaxdiff.networks.mlp import MLP
from jaxdiff.networks.released import sdxl, stable_diffusion_2, stable_diffusion_15
from jaxdiff.networks.unet import UNet

__all__ = ["MLP", "Fourier", "SinCos", "UNet", "sdxl", "stable_diffusion_2", "stable_diffusion_15"]
