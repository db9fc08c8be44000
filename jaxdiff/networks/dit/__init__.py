"""Diffusion transformers over patches in space and time."""

from jaxdiff.networks.dit.dit import DiT
from jaxdiff.networks.dit.in_context import InContextDiT
from jaxdiff.networks.dit.joint import MMDiT
from jaxdiff.networks.dit.packing import Packed, in_slots, pack, plan, unpack
from jaxdiff.networks.dit.positions import (
    CentredGrid,
    Rotary,
    SinCosPositions,
    SpacedGrid,
    StretchedGrid,
)

__all__ = [
    "CentredGrid",
    "DiT",
    "InContextDiT",
    "MMDiT",
    "Packed",
    "Rotary",
    "SinCosPositions",
    "SpacedGrid",
    "StretchedGrid",
    "in_slots",
    "pack",
    "plan",
    "unpack",
]
