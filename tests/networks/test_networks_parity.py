"""The same weights in diffusers' network and in ours give the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.interop import to_ours
from jaxdiff.interop.unet import unet2d
from jaxdiff.networks.layers import SinCos
from jaxdiff.networks.unet import UNet

pytestmark = pytest.mark.parity

LEVELS = 3
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
        waves=SinCos(cos_first=False, frequency_shift=1.0),
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
    UNet(**OPTIONS, attention_at=(8,), scale_shift=True, resample_in_block=True, num_classes=10),
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


@pytest.mark.parametrize(("network", "peer_options"), [DDPM, ADM], ids=["ddpm", "adm"])
def test_unet_is_diffusers(network, peer_options):
    """Catches any difference in the order of blocks, norms, padding, heads or embeddings."""
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    peer = diffusers.UNet2DModel(**peer_options)
    with torch.no_grad():
        for value in peer.parameters():
            value.add_(0.1 * torch.randn_like(value))
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    time, label = np.array([3.0, 700.0], np.float32), np.array([1, 7])
    cond = {"label": jnp.asarray(label)}

    target = network.init(jax.random.key(0), jnp.asarray(x), jnp.asarray(time), cond)["params"]
    params = to_ours(unet2d(LEVELS), peer.state_dict(), target)
    ours = jax.jit(network.apply)({"params": params}, jnp.asarray(x), jnp.asarray(time), cond)

    given = {"class_labels": torch.tensor(label)} if network.num_classes else {}
    with torch.no_grad():
        image = torch.tensor(x).permute(0, 3, 1, 2)
        theirs = peer(image, torch.tensor(time), **given).sample.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())
