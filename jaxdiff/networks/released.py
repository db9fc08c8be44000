"""The settings of U-Nets whose weights are public."""

from typing import Any

import jax.numpy as jnp

from jaxdiff.networks.unet import UNet


def stable_diffusion_15(dtype: Any = jnp.float32, **changes: Any) -> UNet:
    """Returns the U-Net of Stable Diffusion 1 (Rombach et al., 2022): 860 M parameters.

    It reads cond["text"] [b, 77, 768], of CLIP ViT-L/14.
    """
    options = {
        "channels": (320, 640, 1280, 1280),
        "transformer_depth": (1, 1, 1, 0),
        "middle_depth": 1,
        "num_heads": 8,
        "text_features": 768,
        "learned_null": False,
    }
    return UNet(**options | changes, dtype=dtype)


def stable_diffusion_2(dtype: Any = jnp.float32, **changes: Any) -> UNet:
    """Returns the U-Net of Stable Diffusion 2 (Rombach et al., 2022): 866 M parameters.

    It reads cond["text"] [b, 77, 1024], of OpenCLIP ViT-H/14.
    """
    return stable_diffusion_15(dtype, **{"head_channels": 64, "text_features": 1024} | changes)


def sdxl(dtype: Any = jnp.float32, **changes: Any) -> UNet:
    """Returns the U-Net of SDXL's base model (Podell et al., 2023): 2.6 G parameters.

    It reads cond["text"] [b, 77, 2048], of two encoders; cond["text_pooled"] [b, 1280]; and
    cond["size"] [b, 6], in pixels: the height and width of the original image, the top and left of
    the crop, the height and width of the target.
    """
    options = {
        "channels": (320, 640, 1280),
        "transformer_depth": (0, 2, 10),
        "head_channels": 64,
        "text_features": 2048,
        "joint_vectors": {"text_pooled": 1280},
        "joint_numbers": {"size": 6},
        "learned_null": False,
    }
    return UNet(**options | changes, dtype=dtype)
