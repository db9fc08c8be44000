"""Tiles and chunks beside the whole image and the whole clip."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.codecs import Latents, Tiled
from jaxdiff.networks.autoencoder import AutoencoderKL, AutoencoderSettings, Gaussian
from jaxdiff.networks.video_autoencoder import VideoAutoencoder, VideoAutoencoderSettings

IMAGE = AutoencoderSettings((4, 8), 1, latent_channels=2, num_groups=2)
CLIP = VideoAutoencoderSettings(
    (4, 8), (True,), 1, latent_channels=2, middle_attention=False, clamp=False
)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Stub:
    """An autoencoder without neighbours: a latent is a pixel of its four."""

    settings = IMAGE

    def apply(self, variables, x, method):
        del variables
        if method == "decode":
            return jnp.repeat(jnp.repeat(x, 2, -3), 2, -2)
        return Gaussian(x[..., ::2, ::2, :], 2 * x[..., 1::2, 1::2, :])


class Counting:
    """An autoencoder that counts how often it is traced."""

    def __init__(self, network):
        self.network, self.settings, self.traced = network, network.settings, []

    def apply(self, variables, x, method, **options):
        self.traced.append((method, x.shape))
        return self.network.apply(variables, x, method=method, **options)


@functools.cache
def drawn(network):
    frames = (1,) if isinstance(network, VideoAutoencoder) else ()
    x = jnp.zeros((1, *frames, 4, 4, 3))
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.standard_normal(leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
    return {"params": jax.tree.map(lambda leaf: draw(leaf).astype(np.float32), shapes)}


@functools.partial(jax.jit, static_argnums=(0, 1))
def whole(network, method, x):
    return network.apply(drawn(network), x, method=method)


def close(found, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)


@pytest.mark.parametrize("blend", [True, False])
@pytest.mark.parametrize(("tile", "overlap"), [(5, 0), (5, 2), (5, 3), (6, 4), (16, 4)])
def test_weights_sum_to_one(tile, overlap, blend):
    """Catches tiles in the wrong place, a border that fades, a last tile that leaves a gap."""
    tiled = Tiled(Stub(), tile, overlap, blend)
    x, z = numbers(2, 14, 22, 3), numbers(1, 3, 7, 11, 2)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if blend else {"rtol": 0}
    close(tiled.apply({}, x, method="encode"), Stub().apply({}, x, "encode"), **tolerance)
    close(tiled.apply({}, z, method="decode"), Stub().apply({}, z, "decode"), **tolerance)


def test_linear_blending():
    """Catches a seam: two tiles that say 0 and 1 go over in equal steps, as long as the overlap."""

    class Sides(Stub):
        def apply(self, variables, x, method):
            side = jnp.where(x[..., :1, :1, :] > 0, 1.0, 0.0)
            return super().apply(variables, side + 0 * x, method)

    z = np.arange(10.0, dtype=np.float32)[None, None, :, None] * np.ones((1, 4, 1, 2), np.float32)
    tiled = Tiled(Sides(), tile=6, overlap=2)
    ramp = np.concatenate([np.zeros(8), (np.arange(4) + 0.5) / 4, np.ones(8)])
    found = tiled.apply({}, z, method="decode")
    np.testing.assert_allclose(found[0, 3, :, 0], ramp, atol=1e-6)
    halves = replace(tiled, blend=False).apply({}, z, method="decode")
    np.testing.assert_array_equal(halves[0, 3, :, 0], np.arange(20) >= 10)


def test_tiles_and_chunks_of_a_local_network():
    """Catches a radius that is too small, tiles off the grid of strides, and a lost history.

    Two more latents of overlap would change nothing; with half of it the difference must be seen.
    """
    network = VideoAutoencoder(CLIP)
    params = drawn(network)
    x, z = numbers(1, 5, 2, 64, 3), numbers(1, 5, 1, 40, 2)
    for method, value, radius in (
        ("encode", x, CLIP.encoder_radius),
        ("decode", z, CLIP.decoder_radius),
    ):
        expected = whole(network, method, value)
        tiled = Tiled(network, 2 * radius + 3, 2 * radius, blend=False, frames=2)
        found = tiled.apply(params, value, method=method)
        close(found, expected, rtol=1e-4, atol=1e-5)
        short = Tiled(network, 2 * radius + 3, 2, blend=False).apply(params, value, method=method)
        differences = jax.tree.map(lambda a, b: np.abs(a - b).max(), short, expected)
        assert max(jax.tree.leaves(differences)) > 1e-3


def test_two_programs_for_clips_of_any_size():
    """Catches a program for each tile, for each length, or for the last chunk."""
    counting = Counting(VideoAutoencoder(CLIP))
    tiled, params = Tiled(counting, tile=4, overlap=2, frames=2), drawn(counting.network)
    for frames, width in ((4, 8), (5, 6), (2, 11)):
        clip = tiled.apply(params, numbers(1, frames, 4, width, 2), method="decode")
        assert clip.shape == (1, 2 * frames - 1, 8, 2 * width, 3)
    assert counting.traced == [("decode", (1, 1, 4, 4, 2)), ("decode", (1, 2, 4, 4, 2))]


def test_under_jit():
    """Catches a loop that is compiled as often as it turns, and another result."""
    counting = Counting(VideoAutoencoder(CLIP))
    tiled, params = Tiled(counting, tile=4, overlap=2, frames=1), drawn(counting.network)
    z = numbers(1, 4, 4, 8, 2)
    outside = tiled.apply(params, z, method="decode")
    inside = jax.jit(functools.partial(tiled.apply, method="decode"))(params, z)
    close(inside, outside, rtol=1e-5, atol=1e-5)
    assert len(counting.traced) == 2


def test_images_with_norms_over_all_places():
    """Catches tiles that are put together wrongly where they cannot be exact; as `Latents`."""
    network = AutoencoderKL(IMAGE)
    params, z = drawn(network)["params"], numbers(1, 16, 40, 2)
    expected = Latents(network).decode(params, z)
    errors = [
        np.abs(Latents(Tiled(network, tile, 12)).decode(params, z) - expected).mean()
        for tile in (40, 32, 16)
    ]
    assert errors[0] < 1e-6
    assert max(errors) < 0.1 * np.abs(expected).mean()


def test_options_that_do_not_fit():
    """Catches an endless row of tiles, chunks of images, and sizes that are cut off."""
    with pytest.raises(ValueError, match=r"overlap=8: .* below the tile"):
        Tiled(Stub(), tile=8, overlap=8)
    with pytest.raises(ValueError, match="frames=0"):
        Tiled(VideoAutoencoder(CLIP), frames=0)
    with pytest.raises(ValueError, match="only an autoencoder of clips"):
        Tiled(Stub(), frames=2)
    tiled = Tiled(Stub(), tile=4, overlap=0)
    with pytest.raises(ValueError, match=r"9x16: .* multiple of 2"):
        tiled.apply({}, numbers(1, 9, 16, 3), method="encode")
    with pytest.raises(ValueError, match="method='sample'"):
        tiled.apply({}, numbers(1, 9, 16, 3), method="sample")
    with pytest.raises(ValueError, match="6 frames"):
        Tiled(VideoAutoencoder(CLIP), frames=1).apply({}, numbers(1, 6, 2, 2, 3), method="encode")
