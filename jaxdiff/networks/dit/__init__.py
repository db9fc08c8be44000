"""Diffusion transformers over patches in space and time."""

from jaxdiff.networks.dit.dit import DiT
from jaxdiff.networks.dit.joint import MMDiT
from jaxdiff.networks.dit.packing import Packed, in_slots, pack, plan, unpack
from jaxdiff.networks.dit.positions import Centred, Counted, Fitted, Rotary, Waves

__all__ = [
    "Centred",
    "Counted",
    "DiT",
    "Fitted",
    "MMDiT",
    "Packed",
    "Rotary",
    "Waves",
    "in_slots",
    "pack",
    "plan",
    "unpack",
]
