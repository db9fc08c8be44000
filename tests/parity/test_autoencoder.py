"""The names that diffusers itself converts, and sizes of networks too large to run here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.autoencoder import AutoencoderKL, ldm_f4, sd3_vae, sd_vae
from jaxdiff.networks.vector_quantized import AutoencoderVQ
from jaxdiff.pretrained import to_ours, to_theirs
from jaxdiff.pretrained.tables.autoencoder import DEPRECATED_ATTENTION, autoencoder, ldm_autoencoder
from tests.parity.cases.autoencoder import SD, kl_ours, peer_options

pytestmark = pytest.mark.parity


def test_names_that_diffusers_converts(tmp_path):
    """Catches other names of the attention, and levels of LDM counted from the other end."""
    diffusers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint  # noqa: PLC0415

    module = diffusers.AutoencoderKL(**peer_options(SD))
    now = {key: value.numpy() for key, value in module.state_dict().items()}
    params = to_ours(autoencoder(2), now, kl_ours(SD).target)
    torches = lambda table: {
        key: torch.tensor(np.array(value)) for key, value in to_theirs(table, params).items()
    }
    old = torches(autoencoder(2, DEPRECATED_ATTENTION))
    assert "encoder.mid_block.attentions.0.proj_attn.weight" in old
    module._fix_state_dict_keys_on_load(old)
    ldm = convert_ldm_vae_checkpoint(torches(ldm_autoencoder()), module.config)
    for theirs in (old, ldm):
        assert set(theirs) == set(now)
        for key, value in theirs.items():
            np.testing.assert_array_equal(value.numpy(), now[key], err_msg=key)


@pytest.mark.parametrize("kind", ["sd", "sd3", "f4", "vq f4"])
def test_sizes(kind):
    """Catches a named layout of other sizes: every tensor's shape is compared."""
    diffusers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    settings = {"sd": sd_vae(), "sd3": sd3_vae(), "f4": ldm_f4(), "vq f4": ldm_f4()}[kind]
    if kind == "vq f4":
        network, options = AutoencoderVQ(settings), {"num_vq_embeddings": 8192}
    else:
        quant = settings.quant_convs
        network = AutoencoderKL(settings)
        options = {"use_quant_conv": quant, "use_post_quant_conv": quant}
    make = diffusers.VQModel if kind == "vq f4" else diffusers.AutoencoderKL
    with torch.device("meta"):
        module = make(**peer_options(settings), **options)
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    table = autoencoder(len(settings.channels))
    ours = jax.eval_shape(lambda tree: to_theirs(table, tree), params)
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == expected
