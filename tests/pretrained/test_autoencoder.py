"""Published keys and shapes of Stable Diffusion's autoencoder, in the three ways they are named."""

import jax
import jax.numpy as jnp
import pytest

from jaxdiff.networks.autoencoder import AutoencoderKL
from jaxdiff.pretrained import to_theirs
from jaxdiff.pretrained.tables.autoencoder import DEPRECATED_ATTENTION, autoencoder, ldm_autoencoder

BOTH = {
    "quant_conv.weight": (8, 8, 1, 1),
    "post_quant_conv.bias": (4,),
    "encoder.conv_in.weight": (128, 3, 3, 3),
    "decoder.conv_out.weight": (3, 128, 3, 3),
}
DIFFUSERS = {
    **BOTH,
    "encoder.down_blocks.1.resnets.0.conv_shortcut.weight": (256, 128, 1, 1),
    "encoder.down_blocks.2.downsamplers.0.conv.weight": (512, 512, 3, 3),
    "encoder.conv_norm_out.weight": (512,),
    "decoder.up_blocks.2.resnets.0.conv1.weight": (256, 512, 3, 3),
    "decoder.up_blocks.2.upsamplers.0.conv.weight": (256, 256, 3, 3),
    "decoder.up_blocks.3.resnets.2.conv2.bias": (128,),
    "decoder.mid_block.resnets.1.norm2.weight": (512,),
}
LDM = {
    **BOTH,
    "encoder.down.1.block.0.nin_shortcut.weight": (256, 128, 1, 1),
    "encoder.down.2.downsample.conv.weight": (512, 512, 3, 3),
    "encoder.norm_out.weight": (512,),
    "encoder.mid.attn_1.q.weight": (512, 512, 1, 1),
    "encoder.mid.block_2.conv2.weight": (512, 512, 3, 3),
    "decoder.mid.attn_1.proj_out.weight": (512, 512, 1, 1),
    "decoder.up.1.block.0.conv1.weight": (256, 512, 3, 3),
    "decoder.up.1.upsample.conv.weight": (256, 256, 3, 3),
    "decoder.up.0.block.2.conv2.bias": (128,),
}
HERE = "decoder.mid_block.attentions.0"
NEW = {f"{HERE}.to_out.0.weight": (512, 512), f"{HERE}.to_q.bias": (512,)}
OLD = {f"{HERE}.proj_attn.weight": (512, 512), f"{HERE}.query.bias": (512,)}


@pytest.fixture(scope="module")
def params():
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    return jax.eval_shape(AutoencoderKL().init, jax.random.key(0), x)["params"]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (autoencoder(4), DIFFUSERS | NEW),
        (autoencoder(4, DEPRECATED_ATTENTION), DIFFUSERS | OLD),
        (ldm_autoencoder(), LDM),
    ],
    ids=["diffusers", "before 0.17", "LDM"],
)
def test_published_keys(params, table, expected):
    """Catches levels counted from the other end, and convolutions for linear maps."""
    theirs = jax.eval_shape(lambda tree: to_theirs(table, tree), params)
    assert len(theirs) == 248
    assert {key: theirs[key].shape for key in expected} == expected
