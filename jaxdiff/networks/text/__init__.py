"""Encoders of text and images, with weights from public checkpoints: BERT, CLIP, T5."""

from jaxdiff.networks.text.bert import BERTSettings, minilm_l6
from jaxdiff.networks.text.clip import (
    CLIPTextSettings,
    clip_vision_l_14,
    clip_vit_l_14,
    openclip_bigg_14,
    openclip_vision_h_14,
)
from jaxdiff.networks.text.t5 import T5Settings, t5_v1_1_base, t5_v1_1_small, t5_v1_1_xxl

KIND = BERTSettings | CLIPTextSettings | T5Settings
"""The kind of objects that the names of this module build."""

__all__ = [
    "BERTSettings",
    "CLIPTextSettings",
    "T5Settings",
    "clip_vision_l_14",
    "clip_vit_l_14",
    "minilm_l6",
    "openclip_bigg_14",
    "openclip_vision_h_14",
    "t5_v1_1_base",
    "t5_v1_1_small",
    "t5_v1_1_xxl",
]
