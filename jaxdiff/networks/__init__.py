"""Networks: `network(x, time, cond, dropout_keys)`, in Flax Linen, which nothing else sees."""

from jaxdiff.networks.layers import Fourier, SinCos
from jaxdiff.networks.mlp import MLP
from jaxdiff.networks.unet import UNet

__all__ = ["MLP", "Fourier", "SinCos", "UNet"]
