"""The U-Net of images without text beside diffusers' `UNet2DModel`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.times import SinCos
from jaxdiff.networks.unet import UNet
from jaxdiff.pretrained.tables.unet import unet2d
from tests.parity.cases import Case, Ours, Peer

OPTIONS = {"channels": (16, 32, 32), "head_channels": 4, "num_groups": 8}
PEER_OPTIONS = {
    "block_out_channels": (16, 32, 32),
    "layers_per_block": 2,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "sample_size": 16,
}
DDPM = (
    UNet(
        **OPTIONS,
        attention_at=(8,),
        downsample_padding=(0, 1),
        time_sinusoids=SinCos(cos_first=False, frequency_shift=1.0),
    ),
    {
        **PEER_OPTIONS,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
    },
)
ADM = (
    UNet(
        **OPTIONS,
        attention_at=(8,),
        scale_shift=True,
        resample_in_block=True,
        inputs=Inputs(num_classes=10),
    ),
    {
        **PEER_OPTIONS,
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("ResnetUpsampleBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "resnet_time_scale_shift": "scale_shift",
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "attn_norm_num_groups": 8,
        "num_class_embeds": 10,
    },
)
X = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
TIME, LABEL = np.array([3.0, 700.0], np.float32), np.array([1, 7])


def ours(network: UNet) -> Ours:
    inputs = (jnp.asarray(X), jnp.asarray(TIME), {"label": jnp.asarray(LABEL)})
    # Arrays, not shapes: the null embedding is ours alone.
    target = network.init(jax.random.key(0), *inputs)["params"]
    apply = lambda params: {"image": network.apply({"params": params}, *inputs)}
    return Ours(apply, target, unet2d(len(network.channels)))


def peer(options: dict) -> Peer:
    import diffusers
    import torch

    module = diffusers.UNet2DModel(**options)
    given = {"class_labels": torch.tensor(LABEL)} if "num_class_embeds" in options else {}

    def run():
        image = torch.tensor(X).permute(0, 3, 1, 2)
        return {"image": module(image, torch.tensor(TIME), **given).sample.permute(0, 2, 3, 1)}

    return Peer(module, run)


def cases() -> list[Case]:
    """Returns the U-Nets' cases."""
    return [
        Case(
            "U-Net",
            name,
            "diffusers",
            functools.partial(ours, network),
            functools.partial(peer, options),
            gradients=True,
        )
        for name, (network, options) in {"DDPM": DDPM, "ADM": ADM}.items()
    ]
