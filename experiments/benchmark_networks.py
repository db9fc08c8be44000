"""The networks that experiments/benchmark.py times: each as ours and as diffusers' on PyTorch."""

# ruff: noqa: PLC0415 - a process imports only what it times

import dataclasses
from collections.abc import Callable
from typing import Any

SIZE, TEXT = 32, 768
WIDTHS, TEXT_WIDTHS = (64, 128, 128), (64, 128, 256)


@dataclasses.dataclass(frozen=True)
class Network:
    """One network on both sides.

    Attributes:
        words: what it is, for the page.
        channels: of the images.
        batch: how many at a time, in a forward pass and in a training step.
        tasks: what is timed.
        ours: makes our network.
        peer: makes theirs.
        cond: the conditions of so many images, as numpy arrays.
        call: calls theirs: `(module, x, time, cond) -> images`.
    """

    words: str
    channels: int
    batch: int
    tasks: tuple[str, ...]
    ours: Callable[[], Any]
    peer: Callable[[], Any]
    cond: Callable[[int], dict[str, Any]]
    call: Callable[..., Any]


def _unet() -> Any:
    from jaxdiff.networks import UNet

    return UNet(WIDTHS, 2, attention_at=(SIZE // 2,), head_channels=8)


def _peer_unet() -> Any:
    import diffusers

    return diffusers.UNet2DModel(
        sample_size=SIZE,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )


def _text_unet() -> Any:
    from jaxdiff.networks import Inputs, stable_diffusion_15

    return stable_diffusion_15(
        channels=TEXT_WIDTHS,
        transformer_depth=(1, 1, 0),
        num_heads=4,
        inputs=Inputs(text_features=TEXT, learned_null=False),
    )


def _peer_text_unet() -> Any:
    import diffusers

    return diffusers.UNet2DConditionModel(
        block_out_channels=TEXT_WIDTHS,
        layers_per_block=2,
        attention_head_dim=4,
        cross_attention_dim=TEXT,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )


def _text(batch: int) -> dict[str, Any]:
    import numpy as np

    return {"text": np.random.default_rng(0).standard_normal((batch, 77, TEXT)).astype("float32")}


def _dit() -> Any:
    from jaxdiff.networks import Inputs, dit_s

    # As the peer does, nothing but the products of matrices is kept for the gradient.
    return dit_s(
        inputs=Inputs(num_classes=1000),
        out_channels=8,
        remat="dots_with_no_batch_dims_saveable",
    )


def _peer_dit() -> Any:
    import diffusers

    return diffusers.DiTTransformer2DModel(
        num_attention_heads=6,
        attention_head_dim=64,
        in_channels=4,
        out_channels=8,
        num_layers=12,
        sample_size=SIZE,
        norm_eps=1e-6,
    )


def _label(batch: int) -> dict[str, Any]:
    import numpy as np

    return {"label": np.arange(batch, dtype=np.int32)}


NETWORKS = {
    "unet": Network(
        f"U-Net, widths {WIDTHS}, 2 layers a block, attention at {SIZE // 2} pixels",
        channels=3,
        batch=32,
        tasks=("forward", "train", "sample"),
        ours=_unet,
        peer=_peer_unet,
        cond=lambda batch: {},
        call=lambda net, x, t, cond: net(x, t).sample,
    ),
    "dit": Network(
        "DiT-S/2",
        channels=4,
        batch=8,
        tasks=("forward", "train"),
        ours=_dit,
        peer=_peer_dit,
        cond=_label,
        call=lambda net, x, t, cond: net(x, t, cond["label"].long()).sample[:, :4],
    ),
    "text_unet": Network(
        f"U-Net with text, widths {TEXT_WIDTHS}, 2 layers a block, 77 tokens of {TEXT}",
        channels=4,
        batch=4,
        tasks=("forward", "train"),
        ours=_text_unet,
        peer=_peer_text_unet,
        cond=_text,
        call=lambda net, x, t, cond: net(x, t, cond["text"]).sample,
    ),
}
