"""Networks: `network(x, time, cond, dropout_keys)`, in Flax Linen, which nothing else sees."""

from jaxdiff.networks.discriminator import FeatureDiscriminator, PatchDiscriminator
from jaxdiff.networks.dit import (
    CentredGrid,
    DiT,
    InContextDiT,
    MMDiT,
    Rotary,
    SinCosPositions,
    SpacedGrid,
    StretchedGrid,
)
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.mlp import MLP
from jaxdiff.networks.released import (
    dit_b,
    dit_l,
    dit_s,
    dit_xl,
    pixart_alpha,
    sd3_medium,
    sd35_medium,
    sdxl,
    sdxl_refiner,
    stable_diffusion_2,
    stable_diffusion_15,
    wan_1_3b,
)
from jaxdiff.networks.times import Fourier, SinCos
from jaxdiff.networks.unet import UNet
from jaxdiff.typing import Network

KIND = Network
"""The kind of objects that the names of this module build."""

__all__ = [
    "MLP",
    "CentredGrid",
    "DiT",
    "FeatureDiscriminator",
    "Fourier",
    "InContextDiT",
    "Inputs",
    "MMDiT",
    "PatchDiscriminator",
    "Rotary",
    "SinCos",
    "SinCosPositions",
    "SpacedGrid",
    "StretchedGrid",
    "UNet",
    "dit_b",
    "dit_l",
    "dit_s",
    "dit_xl",
    "pixart_alpha",
    "sd3_medium",
    "sd35_medium",
    "sdxl",
    "sdxl_refiner",
    "stable_diffusion_2",
    "stable_diffusion_15",
    "wan_1_3b",
]
