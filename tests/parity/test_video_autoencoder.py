"""The config and the sizes of Wan 2.1's autoencoder as diffusers has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.video_autoencoder import VideoAutoencoder, settings_from_config, wan_vae
from jaxdiff.pretrained import to_ours, to_theirs
from jaxdiff.pretrained.tables.video_autoencoder import video_autoencoder, wan_autoencoder
from tests.parity.cases.video_autoencoder import TWO_LEVELS, WAN, ours, peer_options

pytestmark = pytest.mark.parity


def test_sizes():
    """Catches a named layout of other sizes: every tensor's shape is compared."""
    diffusers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        module = diffusers.AutoencoderKLWan()
    settings = settings_from_config(module.config)
    assert settings == wan_vae()
    x = jax.ShapeDtypeStruct((1, 1, 8, 8, 3), jnp.float32)
    params = jax.eval_shape(VideoAutoencoder(settings).init, jax.random.key(0), x)["params"]
    table = video_autoencoder(len(settings.channels), settings.layers_per_block)
    ours = jax.eval_shape(lambda tree: to_theirs(table, tree), params)
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    assert {key: value.shape for key, value in ours.items()} == expected


def test_config():
    """Catches a field of theirs that is read as another."""
    diffusers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        module = diffusers.AutoencoderKLWan(**peer_options(TWO_LEVELS))
    found = settings_from_config(module.config)
    np.testing.assert_array_equal(found.scale, np.ones(4))
    np.testing.assert_array_equal(found.shift, np.zeros(4))
    assert (found.channels, found.halve_frames) == (TWO_LEVELS.channels, TWO_LEVELS.halve_frames)
    assert (found.layers_per_block, found.latent_channels) == (1, 4)


def test_names_that_diffusers_converts():
    """Catches blocks of Wan's own lists that are counted in another way."""
    diffusers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers  # noqa: PLC0415

    module = diffusers.AutoencoderKLWan(**peer_options(WAN))
    now = {key: value.numpy() for key, value in module.state_dict().items()}
    params = to_ours(video_autoencoder(4, 2), now, ours(WAN, (1,)).target)
    own = to_theirs(wan_autoencoder(4, 2), params)
    theirs = convert_wan_vae_to_diffusers(
        {key: torch.tensor(np.array(value)) for key, value in own.items()}
    )
    assert set(theirs) == set(now)
    for key, value in theirs.items():
        np.testing.assert_array_equal(value.numpy(), now[key], err_msg=key)
