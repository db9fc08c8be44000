"""Published keys and shapes of Wan 2.1's autoencoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.video_autoencoder import VideoAutoencoder, VideoAutoencoderSettings
from jaxdiff.pretrained import to_ours, to_theirs
from jaxdiff.pretrained.tables.video_autoencoder import video_autoencoder, wan_autoencoder

PUBLISHED = {
    "encoder.conv_in.weight": (96, 3, 3, 3, 3),
    "encoder.down_blocks.0.norm1.gamma": (96, 1, 1, 1),
    "encoder.down_blocks.2.resample.1.weight": (96, 96, 3, 3),
    "encoder.down_blocks.3.conv_shortcut.weight": (192, 96, 1, 1, 1),
    "encoder.down_blocks.5.time_conv.weight": (192, 192, 3, 1, 1),
    "encoder.down_blocks.8.time_conv.bias": (384,),
    "encoder.down_blocks.10.conv2.weight": (384, 384, 3, 3, 3),
    "encoder.mid_block.attentions.0.norm.gamma": (384, 1, 1),
    "encoder.mid_block.attentions.0.to_qkv.weight": (1152, 384, 1, 1),
    "encoder.norm_out.gamma": (384, 1, 1, 1),
    "encoder.conv_out.weight": (32, 384, 3, 3, 3),
    "quant_conv.weight": (32, 32, 1, 1, 1),
    "post_quant_conv.bias": (16,),
    "decoder.conv_in.weight": (384, 16, 3, 3, 3),
    "decoder.mid_block.resnets.1.conv1.weight": (384, 384, 3, 3, 3),
    "decoder.mid_block.attentions.0.proj.bias": (384,),
    "decoder.up_blocks.0.upsamplers.0.time_conv.weight": (768, 384, 3, 1, 1),
    "decoder.up_blocks.0.upsamplers.0.resample.1.weight": (192, 384, 3, 3),
    "decoder.up_blocks.1.resnets.0.conv_shortcut.weight": (384, 192, 1, 1, 1),
    "decoder.up_blocks.2.upsamplers.0.resample.1.bias": (96,),
    "decoder.up_blocks.3.resnets.2.norm2.gamma": (96, 1, 1, 1),
    "decoder.conv_out.weight": (3, 96, 3, 3, 3),
}
OWN = {
    "encoder.conv1.weight": (96, 3, 3, 3, 3),
    "encoder.downsamples.0.residual.0.gamma": (96, 1, 1, 1),
    "encoder.downsamples.3.shortcut.weight": (192, 96, 1, 1, 1),
    "encoder.downsamples.5.time_conv.weight": (192, 192, 3, 1, 1),
    "encoder.downsamples.10.residual.6.weight": (384, 384, 3, 3, 3),
    "encoder.middle.0.residual.3.gamma": (384, 1, 1, 1),
    "encoder.middle.1.to_qkv.weight": (1152, 384, 1, 1),
    "encoder.head.2.weight": (32, 384, 3, 3, 3),
    "conv1.weight": (32, 32, 1, 1, 1),
    "conv2.bias": (16,),
    "decoder.middle.2.residual.2.weight": (384, 384, 3, 3, 3),
    "decoder.upsamples.3.resample.1.weight": (192, 384, 3, 3),
    "decoder.upsamples.4.shortcut.weight": (384, 192, 1, 1, 1),
    "decoder.upsamples.7.time_conv.bias": (768,),
    "decoder.upsamples.14.residual.2.weight": (96, 96, 3, 3, 3),
    "decoder.head.0.gamma": (96, 1, 1, 1),
}


@pytest.fixture(scope="module")
def params():
    x = jax.ShapeDtypeStruct((1, 1, 8, 8, 3), jnp.float32)
    return jax.eval_shape(VideoAutoencoder().init, jax.random.key(0), x)["params"]


@pytest.mark.parametrize(
    ("table", "expected", "missing"),
    [
        (video_autoencoder, PUBLISHED, "decoder.up_blocks.2.upsamplers.0.time_conv.weight"),
        (wan_autoencoder, OWN, "decoder.upsamples.11.time_conv.weight"),
    ],
    ids=["diffusers", "Wan"],
)
def test_published_keys(params, table, expected, missing):
    """Catches levels counted from the other end, and a layout with too few axes of one."""
    theirs = jax.eval_shape(lambda tree: to_theirs(table(4, 2), tree), params)
    assert len(theirs) == 194
    assert {key: theirs[key].shape for key in expected} == expected
    assert missing not in theirs


def test_there_and_back():
    """Catches a layout that is not undone by its other half."""
    settings = VideoAutoencoderSettings((4, 8), (True,), layers_per_block=1, latent_channels=2)
    network = VideoAutoencoder(settings)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 1, 2, 2, 3)))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype("float32"), shapes)
    for table in (video_autoencoder(2, 1), wan_autoencoder(2, 1)):
        again = to_ours(table, to_theirs(table, params), params)
        jax.tree.map(np.testing.assert_array_equal, again, params)
