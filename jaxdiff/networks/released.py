"""The settings of networks whose weights are public."""

from typing import Any

import jax.numpy as jnp

from jaxdiff.networks.dit import Centred, DiT, Fitted, MMDiT, Rotary, Waves
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


def dit_s(dtype: Any = jnp.float32, num_classes: int | None = None, **changes: Any) -> DiT:
    """Returns the smallest transformer of Peebles & Xie (2023), with patches of 2: 33 M parameters.

    Theirs have `num_classes=1000` and `out_channels=8`, the second half the variance's.
    """
    return _dit(384, 12, 6, dtype, {"num_classes": num_classes} | changes)


def dit_b(dtype: Any = jnp.float32, num_classes: int | None = None, **changes: Any) -> DiT:
    """Returns DiT-B/2 (Peebles & Xie, 2023): 130 M parameters."""
    return _dit(768, 12, 12, dtype, {"num_classes": num_classes} | changes)


def dit_l(dtype: Any = jnp.float32, num_classes: int | None = None, **changes: Any) -> DiT:
    """Returns DiT-L/2 (Peebles & Xie, 2023): 458 M parameters."""
    return _dit(1024, 24, 16, dtype, {"num_classes": num_classes} | changes)


def dit_xl(dtype: Any = jnp.float32, num_classes: int | None = None, **changes: Any) -> DiT:
    """Returns DiT-XL/2 (Peebles & Xie, 2023), and SiT-XL/2 (Ma et al., 2024): 675 M parameters."""
    return _dit(1152, 28, 16, dtype, {"num_classes": num_classes} | changes)


def pixart_alpha(dtype: Any = jnp.float32, **changes: Any) -> DiT:
    """Returns PixArt-alpha for images of 256 or 512 (Chen et al., 2023): 611 M parameters.

    It reads cond["text"] [b, 120, 4096], of T5 v1.1 XXL, and its mask. `positions` are those of
    256; for 512, the places are `Fitted(extent=16.0)` as well.
    """
    options = {
        "shared_modulation": True,
        "text_features": 4096,
        "positions": Waves(Fitted(extent=16.0)),
        "out_channels": 8,
        "learned_null": False,
    }
    return _dit(1152, 28, 16, dtype, options | changes)


def sd3_medium(dtype: Any = jnp.float32, **changes: Any) -> MMDiT:
    """Returns the transformer of Stable Diffusion 3 medium (Esser et al., 2024): 2 G parameters.

    It reads cond["text"] [b, n, 4096], of two CLIPs and T5, and cond["text_pooled"] [b, 2048].
    """
    options = {
        "features": 1536,
        "depth": 24,
        "num_heads": 24,
        "text_features": 4096,
        "joint_vectors": {"text_pooled": 2048},
        "positions": Waves(Centred(extent=64.0, most=192)),
        "learned_null": False,
    }
    return MMDiT(**options | changes, dtype=dtype)


def wan_1_3b(dtype: Any = jnp.float32, **changes: Any) -> DiT:
    """Returns the smaller transformer of Wan 2.1, text to video (Wan team, 2025): 1.4 G parameters.

    It reads cond["text"] [b, 512, 4096], of UMT5 XXL, zeros behind the prompt.
    """
    options = {
        "mlp_features": 8960,
        "shared_modulation": True,
        "positions": Rotary(),
        "qk_norm": "all",
        "text_features": 4096,
        "text_norm": True,
        "learned_null": False,
    }
    return _dit(1536, 30, 12, dtype, options | changes)


def _dit(features: int, depth: int, num_heads: int, dtype: Any, changes: dict[str, Any]) -> DiT:
    sizes = {"features": features, "depth": depth, "num_heads": num_heads}
    return DiT(**sizes | changes, dtype=dtype)
