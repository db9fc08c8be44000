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
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


LONG = numbers(1, 5, 2, 64, 3), numbers(1, 5, 1, 40, 2)
"""A clip and latents in which a tile can see as far as it needs to."""


class Stub:
    """An autoencoder without neighbours: a latent is a pixel of its four."""

    settings = IMAGE

    def apply(self, variables, x, method):
        del variables
        if method == "decode":
            return jnp.repeat(jnp.repeat(x, 2, -3), 2, -2)
        return Gaussian(x[..., ::2, ::2, :], 2 * x[..., 1::2, 1::2, :])


class Sums:
    """An autoencoder of clips whose frames are the sums of the latents up to them."""

    settings = CLIP

    def __init__(self):
        self.traced = []

    def apply(self, variables, x, method, mutable=()):
        self.traced.append((method, x.shape))
        before = variables.get("history", {}).get("sum")
        sums = x.cumsum(1) + (0 if before is None else before)
        twice = jnp.repeat(Stub().apply({}, sums, method), 2, 1)
        frames = twice[:, 1:] if before is None else twice
        return (frames, {"history": {"sum": sums[:, -1:]}}) if mutable else frames


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
@pytest.mark.parametrize(("tile", "overlap"), [(5, 0), (6, 4), (8, 7)])
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

    z = jnp.arange(10.0)[None, None, :, None] * jnp.ones((1, 4, 1, 2))
    tiled = Tiled(Sides(), tile=6, overlap=2)
    ramp = np.concatenate([np.zeros(8), (np.arange(4) + 0.5) / 4, np.ones(8)])
    found = tiled.apply({}, z, method="decode")
    np.testing.assert_allclose(found[0, 3, :, 0], ramp, atol=1e-6)
    halves = replace(tiled, blend=False).apply({}, z, method="decode")
    np.testing.assert_array_equal(halves[0, 3, :, 0], np.arange(20) >= 10)


def test_tiles_and_chunks_of_a_local_network():
    """Catches tiles off the grid of strides, halves of another size, and a lost history."""
    network, (x, z) = VideoAutoencoder(CLIP), LONG
    for method, value, radius in (
        ("encode", x, CLIP.encoder_radius),
        ("decode", z, CLIP.decoder_radius),
    ):
        tiled = Tiled(network, 2 * radius + 3, 2 * radius, blend=False, frames=2)
        found = tiled.apply(drawn(network), value, method=method)
        close(found, whole(network, method, value), rtol=1e-4, atol=1e-5)


def test_radius():
    """Catches a radius that is not that of the network: whatever sees a NaN is NaN."""
    network, (x, z) = VideoAutoencoder(CLIP), LONG
    seen = np.isnan(whole(network, "decode", z.at[:, 0, :, 20].set(jnp.nan))).any((0, 1, 2, 4))
    latents = np.flatnonzero(seen) // CLIP.factor
    assert np.abs(latents - 20).max() == CLIP.decoder_radius < 20
    farthest = 0
    for pixel in (32, 33):
        said = whole(network, "encode", x.at[:, 0, :, pixel].set(jnp.nan)).mean
        latents = np.flatnonzero(np.isnan(said).any((0, 1, 2, 4)))
        farthest = max(farthest, np.abs(latents - pixel // CLIP.factor).max())
    assert farthest == CLIP.encoder_radius < 15


def test_two_programs_for_clips_of_any_size():
    """Catches a program for each tile or length, a last chunk that is lost or too long."""
    sums = Sums()
    tiled = Tiled(sums, tile=4, overlap=2, frames=2)
    for frames, width in ((4, 8), (1, 6), (5, 11)):
        z = numbers(1, frames, 4, width, 2)
        expected = Sums().apply({}, z, "decode")
        close(tiled.apply({}, z, method="decode"), expected, rtol=1e-5, atol=1e-5)
    assert sums.traced == [("decode", (1, 1, 4, 4, 2)), ("decode", (1, 2, 4, 4, 2))]


def test_under_jit():
    """Catches a program that grows with the tiles and the chunks, and another result."""
    tiled = Tiled(Sums(), tile=4, overlap=2, frames=1)
    apply = functools.partial(tiled.apply, {}, method="decode")
    z = numbers(1, 6, 4, 8, 2)
    close(jax.jit(apply)(z), Sums().apply({}, z, "decode"), rtol=1e-5, atol=1e-5)
    equations = lambda *size: len(jax.make_jaxpr(apply)(numbers(1, *size, 2)).eqns)
    assert equations(6, 4, 8) == equations(6, 4, 16) == equations(9, 4, 8)


def test_images_with_norms_over_all_places():
    """Catches tiles that are put together wrongly where they cannot be exact; as `Latents`."""
    network = AutoencoderKL(IMAGE)
    params, z = drawn(network)["params"], numbers(1, 12, 24, 2)
    expected = whole(network, "decode", z / IMAGE.scale)
    for tile, most in ((24, 1e-6), (12, 0.1)):
        found = Latents(Tiled(network, tile, 6)).decode(params, z)
        assert np.abs(found - expected).mean() < most * np.abs(expected).mean()


def test_options_that_do_not_fit():
    """Catches an endless row of tiles, chunks of images, and sizes that are cut off."""
    with pytest.raises(ValueError, match=r"overlap=8: .* below the tile"):
        Tiled(Stub(), tile=8, overlap=8)
    with pytest.raises(ValueError, match="frames is 0; expected an integer from 1"):
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
