"""Posteriors, codes, sizes and errors of the autoencoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.autoencoder import (
    AutoencoderKL,
    AutoencoderSettings,
    Gaussian,
    flux_vae,
    posterior,
    sd3_vae,
    sd_vae,
    sdxl_vae,
    settings_from_config,
)
from jaxdiff.networks.vector_quantized import AutoencoderVQ, nearest, perplexity

TINY = AutoencoderSettings((4, 8), layers_per_block=1, num_groups=2, latent_channels=3)


def shapes(network, x=(1, 8, 8, 3)):
    x = jax.ShapeDtypeStruct(x, jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), x)["params"]


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize(
    ("settings", "count"), [(sd_vae(), 83_653_863), (sd3_vae(), 83_819_683)], ids=["sd", "sd3"]
)
def test_parameters_of_the_published_networks(settings, count):
    """Catches a block, a norm, an attention or a convolution too many or too few."""
    params = shapes(AutoencoderKL(settings))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    assert settings.factor == 8


def test_settings_of_published_configs():
    """Catches a field that is not read, and factors of another network."""
    config = {
        "in_channels": 3,
        "out_channels": 3,
        "act_fn": "silu",
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": 32,
    }
    narrow = {**config, "latent_channels": 16, "use_quant_conv": False}
    narrow["use_post_quant_conv"] = False
    assert settings_from_config(config) == sd_vae()
    assert settings_from_config({**config, "scaling_factor": 0.13025}) == sdxl_vae()
    sd3 = {**narrow, "scaling_factor": 1.5305, "shift_factor": 0.0609}
    assert settings_from_config(sd3) == sd3_vae()
    flux = {**narrow, "scaling_factor": 0.3611, "shift_factor": 0.1159}
    assert settings_from_config(flux) == flux_vae()
    assert not settings_from_config({**config, "mid_block_add_attention": False}).middle_attention
    for name, value in (("use_post_quant_conv", False), ("act_fn", "relu"), ("out_channels", 1)):
        with pytest.raises(ValueError, match=name):
            settings_from_config({**config, name: value})


def test_posterior():
    """Catches mean and log-variance exchanged, no clipping, a variance for a deviation."""
    moments = jnp.array([1.0, 2.0, -50.0, 40.0]).reshape(1, 1, 1, 4)
    said = posterior(moments)
    assert said.mean.ravel().tolist() == [1, 2]
    assert said.log_variance.ravel().tolist() == [-30, 20]

    keys = jax.random.split(jax.random.key(0), 2)
    said = Gaussian(numbers(2, 2, 1, 3), jnp.full((2, 2, 1, 3), jnp.log(0.25)))
    noise = [jax.random.normal(key, (2, 1, 3)) for key in keys]
    np.testing.assert_allclose(said.sample(keys), said.mean + 0.5 * jnp.stack(noise), rtol=1e-5)


def test_reconstruction(monkeypatch):
    """Catches a sample for the mean, and keys that are not used."""
    fixed = lambda network, x: Gaussian(x, jnp.zeros_like(x))
    monkeypatch.setattr(AutoencoderKL, "encode", fixed)
    monkeypatch.setattr(AutoencoderKL, "decode", lambda network, z: 2 * z)
    x, keys = numbers(2, 2, 1, 3), jax.random.split(jax.random.key(0), 2)
    images, said = AutoencoderKL(TINY).apply({"params": {}}, x)
    np.testing.assert_array_equal(images, 2 * x)
    images, _ = AutoencoderKL(TINY).apply({"params": {}}, x, keys)
    np.testing.assert_array_equal(images, 2 * said.sample(keys))


def test_kl():
    """Catches a missing half or one, a sum over the batch, a mean for a sum.

    The divergence of N(m, s²) from N(0, 1) is (m² + s² - 1)/2 - log s.
    """
    mean, deviation = jnp.array([0.0, 3.0]), jnp.array([1.0, 0.5])
    spread = lambda x: jnp.broadcast_to(x[:, None, None, None], (2, 2, 1, 3))
    said = Gaussian(spread(mean), 2 * jnp.log(spread(deviation)))
    expected = 6 * ((mean**2 + deviation**2 - 1) / 2 - jnp.log(deviation))
    np.testing.assert_allclose(said.kl(), expected, rtol=1e-6)
    clips = Gaussian(*(value[:, None] for value in said))
    np.testing.assert_allclose(clips.kl(), expected, rtol=1e-6)


def test_sizes_and_channels_that_do_not_fit():
    """Catches an error that comes late or does not say what would be right."""
    network = AutoencoderKL(TINY)
    with pytest.raises(ValueError, match=r"9x8: .* multiple of 2; .* 8x8 and 10x8"):
        shapes(network, (1, 9, 8, 3))
    with pytest.raises(ValueError, match=r"images of 4 channels: .* have 3"):
        shapes(network, (1, 8, 8, 4))
    with pytest.raises(ValueError, match=r"latents of 4 channels: .* have 3"):
        network.apply({"params": {}}, jnp.zeros((1, 4, 4, 4)), method="decode")
    with pytest.raises(ValueError, match="channels"):
        AutoencoderSettings(())
    with pytest.raises(ValueError, match="latent_channels is 0"):
        AutoencoderSettings(latent_channels=0)


BOOK = numbers(7, 3, seed=1)
NETWORK = AutoencoderVQ(TINY, num_codes=7)


def run(method, x, book=BOOK):
    return NETWORK.apply({"params": {"codebook": book}}, x, method=method)


def test_nearest_code():
    """Catches a distance without the codes' lengths, or of the wrong sign."""
    book = BOOK * jnp.linspace(0.2, 2.0, 7)[:, None]
    z = numbers(2, 4, 5, 3)
    distances = np.linalg.norm(np.asarray(z)[..., None, :] - np.asarray(book), axis=-1)
    found = np.asarray(nearest(z, book))
    np.testing.assert_array_equal(found, distances.argmin(-1))
    assert len(np.unique(found)) > 3


def test_gradients_of_codes():
    """Catches latents without a gradient, or the two distances exchanged.

    Straight through, the codes' gradient is the latents'; with d channels and n places the
    commitment's is 2(z - code)/(n·d), and the codebook's is that of the places that use a code.
    """
    z, weights = numbers(2, 2, 3, 3), numbers(2, 2, 3, 3, seed=2)

    @jax.jit
    def gradients(z, book):
        through = lambda z, book: (run("quantize", z, book).codes * weights).sum()
        metric = lambda name: lambda z, book: run("quantize", z, book).metrics[name].sum()
        losses = {"through": through, **{n: metric(n) for n in ("commitment", "codebook")}}
        found = {name: jax.grad(loss, (0, 1))(z, book) for name, loss in losses.items()}
        return found, run("quantize", z, book)

    found, quantized = jax.device_get(gradients(z, BOOK))
    codes, indices = np.asarray(BOOK)[quantized.indices], quantized.indices.ravel()
    np.testing.assert_allclose(quantized.codes, codes, atol=1e-6)
    per_place = np.asarray(2 * (z - codes) / (2 * 3 * 3))
    in_book = np.zeros((7, 3), np.float32)
    np.add.at(in_book, indices, -per_place.reshape(-1, 3))
    expected = {
        "through": (weights, 0 * in_book),
        "commitment": (per_place, 0 * in_book),
        "codebook": (0 * per_place, in_book),
    }
    for name, (by_latents, by_book) in expected.items():
        np.testing.assert_allclose(found[name][0], by_latents, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(found[name][1], by_book, atol=1e-6, err_msg=name)


def test_perplexity():
    """Catches shares of the batch for those of an example: 1 code, and 2 codes 1:3."""
    indices = jnp.array([[[5, 5], [5, 5]], [[0, 6], [6, 6]]])
    expected = [1, np.exp(-0.25 * np.log(0.25) - 0.75 * np.log(0.75))]
    np.testing.assert_allclose(perplexity(indices, 7), expected, rtol=1e-6)


def test_indices_out_of_range():
    """Catches the last code for an index that is too large, and a negative one counted from it."""
    indices = jnp.array([[[0, 7], [-1, 6]]])
    with pytest.raises(ValueError, match=r"\[-1, 7\] are not in the codebook .* 0 to 6"):
        run("lookup", indices)
    np.testing.assert_array_equal(run("lookup", jnp.array([[[6, 0]]])), BOOK[None, None, ::-6])
    codes = jax.jit(lambda indices: run("lookup", indices))(indices)
    np.testing.assert_array_equal(np.isnan(codes).all(-1), [[[False, True], [True, False]]])


def test_settings_of_a_codebook():
    """Catches a codebook of none, and one whose codes nothing makes."""
    for network in (
        AutoencoderVQ(TINY, num_codes=0),
        AutoencoderVQ(AutoencoderSettings((4,), quant_convs=False)),
    ):
        with pytest.raises(ValueError, match="num_codes="):
            shapes(network)
