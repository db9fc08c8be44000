"""The settings of networks whose weights are public."""

from typing import Any

import jax.numpy as jnp

from jaxdiff.networks.dit import CentredGrid, DiT, MMDiT, Rotary, SinCosPositions, StretchedGrid
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.unet import UNet


def stable_diffusion_15(
    dtype: Any = jnp.float32,
    inputs: Inputs = Inputs(text_features=768, learned_null=False),
    **changes: Any,
) -> UNet:
    """Returns the U-Net of Stable Diffusion 1 (Rombach et al., 2022): 860 M parameters.

    It reads cond["text"] [b, 77, 768], of CLIP ViT-L/14.
    """
    options = {
        "channels": (320, 640, 1280, 1280),
        "transformer_depth": (1, 1, 1, 0),
        "middle_depth": 1,
        "num_heads": 8,
    }
    return UNet(**options | changes, inputs=inputs, dtype=dtype)


def stable_diffusion_2(
    dtype: Any = jnp.float32,
    inputs: Inputs = Inputs(text_features=1024, learned_null=False),
    **changes: Any,
) -> UNet:
    """Returns the U-Net of Stable Diffusion 2 (Rombach et al., 2022): 866 M parameters.

    It reads cond["text"] [b, 77, 1024], of OpenCLIP ViT-H/14.
    """
    return stable_diffusion_15(dtype, inputs, **{"head_channels": 64} | changes)


def sdxl(
    dtype: Any = jnp.float32,
    inputs: Inputs = Inputs(
        text_features=2048, pooled_features=1280, joint_numbers={"size": 6}, learned_null=False
    ),
    **changes: Any,
) -> UNet:
    """Returns the U-Net of SDXL's base model (Podell et al., 2023): 2.6 G parameters.

    It reads cond["text"] [b, 77, 2048] of two encoders, with a pooled vector [b, 1280]; and
    cond["size"] [b, 6], in pixels: the height and width of the original image, the top and left of
    the crop, the height and width of the target.
    """
    options = {
        "channels": (320, 640, 1280),
        "transformer_depth": (0, 2, 10),
        "head_channels": 64,
    }
    return UNet(**options | changes, inputs=inputs, dtype=dtype)


def sdxl_refiner(
    dtype: Any = jnp.float32,
    inputs: Inputs = Inputs(
        text_features=1280,
        pooled_features=1280,
        joint_numbers={"size": 4, "aesthetic_score": 1},
        learned_null=False,
    ),
    **changes: Any,
) -> UNet:
    """Returns the U-Net of SDXL's refiner (Podell et al., 2023): 2.3 G parameters.

    It reads cond["text"] [b, 77, 1280] of the larger encoder, with a pooled vector [b, 1280];
    cond["size"] [b, 4], in pixels: the height and width of the original image, the top and left of
    the crop; and cond["aesthetic_score"] [b, 1], up to 10.
    """
    options = {
        "channels": (384, 768, 1536, 1536),
        "transformer_depth": (0, 4, 4, 0),
        "middle_depth": 4,
        "head_channels": 64,
    }
    return UNet(**options | changes, inputs=inputs, dtype=dtype)


def dit_s(dtype: Any = jnp.float32, inputs: Inputs = Inputs(), **changes: Any) -> DiT:
    """Returns the smallest transformer of Peebles & Xie (2023), with patches of 2: 33 M parameters.

    The released ones have `inputs=Inputs(num_classes=1000)` and `out_channels=8`, of which the
    second half is the variance.
    """
    return _dit(384, 12, 6, dtype, inputs, changes)


def dit_b(dtype: Any = jnp.float32, inputs: Inputs = Inputs(), **changes: Any) -> DiT:
    """Returns DiT-B/2 (Peebles & Xie, 2023): 130 M parameters."""
    return _dit(768, 12, 12, dtype, inputs, changes)


def dit_l(dtype: Any = jnp.float32, inputs: Inputs = Inputs(), **changes: Any) -> DiT:
    """Returns DiT-L/2 (Peebles & Xie, 2023): 458 M parameters."""
    return _dit(1024, 24, 16, dtype, inputs, changes)


def dit_xl(dtype: Any = jnp.float32, inputs: Inputs = Inputs(), **changes: Any) -> DiT:
    """Returns DiT-XL/2 (Peebles & Xie, 2023), and SiT-XL/2 (Ma et al., 2024): 675 M parameters."""
    return _dit(1152, 28, 16, dtype, inputs, changes)


def pixart_alpha(
    dtype: Any = jnp.float32,
    inputs: Inputs = Inputs(text_features=4096, learned_null=False),
    **changes: Any,
) -> DiT:
    """Returns PixArt-alpha for images of 256 or 512 (Chen et al., 2023): 611 M parameters.

    It reads cond["text"] [b, 120, 4096], of T5 v1.1 XXL, and its mask. `positions` are those of
    256; for 512, the places are `StretchedGrid(extent=16.0)` as well.
    """
    options = {
        "shared_modulation": True,
        "positions": SinCosPositions(StretchedGrid(extent=16.0)),
        "out_channels": 8,
    }
    return _dit(1152, 28, 16, dtype, inputs, options | changes)


def sd3_medium(
    dtype: Any = jnp.float32,
    inputs: Inputs = Inputs(text_features=4096, pooled_features=2048, learned_null=False),
    **changes: Any,
) -> MMDiT:
    """Returns the transformer of Stable Diffusion 3 medium (Esser et al., 2024): 2 G parameters.

    It reads cond["text"] [b, n, 4096], of two CLIPs and T5, with a pooled vector [b, 2048].
    """
    options = {
        "features": 1536,
        "depth": 24,
        "num_heads": 24,
        "positions": SinCosPositions(CentredGrid(extent=64.0, most=192)),
    }
    return MMDiT(**options | changes, inputs=inputs, dtype=dtype)


def sd35_medium(
    dtype: Any = jnp.float32,
    inputs: Inputs = Inputs(text_features=4096, pooled_features=2048, learned_null=False),
    **changes: Any,
) -> MMDiT:
    """Returns the transformer of Stable Diffusion 3.5 medium (Esser et al., 2024).

    It has 2.2 G parameters. Its conditions are those of `sd3_medium`.
    """
    options = {
        "dual_depth": 13,
        "qk_norm": "head",
        "positions": SinCosPositions(CentredGrid(extent=64.0, most=384)),
    }
    return sd3_medium(dtype, inputs, **options | changes)


def wan_1_3b(
    dtype: Any = jnp.float32,
    inputs: Inputs = Inputs(text_features=4096, learned_null=False),
    **changes: Any,
) -> DiT:
    """Returns the smaller transformer of Wan 2.1, text to video (Wan team, 2025): 1.4 G parameters.

    It reads cond["text"] [b, 512, 4096], of UMT5 XXL, zeros behind the prompt.
    """
    options = {
        "mlp_features": 8960,
        "shared_modulation": True,
        "positions": Rotary(),
        "qk_norm": "all",
        "text_norm": True,
    }
    return _dit(1536, 30, 12, dtype, inputs, options | changes)


def _dit(
    features: int, depth: int, num_heads: int, dtype: Any, inputs: Inputs, changes: dict[str, Any]
) -> DiT:
    sizes = {"features": features, "depth": depth, "num_heads": num_heads}
    return DiT(**sizes | changes, inputs=inputs, dtype=dtype)
