"""Encoders of text and images, with weights from public checkpoints: BERT, CLIP, T5."""

from jaxdiff.networks.text.bert import minilm_l6
from jaxdiff.networks.text.clip import (
    clip_vision_l_14,
    clip_vit_l_14,
    openclip_bigg_14,
    openclip_vision_h_14,
)
from jaxdiff.networks.text.t5 import t5_v1_1_base, t5_v1_1_small, t5_v1_1_xxl

__all__ = [
    "clip_vision_l_14",
    "clip_vit_l_14",
    "minilm_l6",
    "openclip_bigg_14",
    "openclip_vision_h_14",
    "t5_v1_1_base",
    "t5_v1_1_small",
    "t5_v1_1_xxl",
]
