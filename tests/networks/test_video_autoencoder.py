"""Causality, chunks, sizes and errors of the autoencoder of clips."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.autoencoder import Decoder
from jaxdiff.networks.video_autoencoder import (
    VideoAutoencoder,
    VideoAutoencoderSettings,
    settings_from_config,
    wan_vae,
)
from jaxdiff.networks.video_autoencoder.layers import ClipResidualBlock
from tests.support.seeded import drawn

TINY = VideoAutoencoderSettings((4, 8, 8), (True, True), layers_per_block=1, latent_channels=2)
NETWORK = VideoAutoencoder(TINY)
CLIP = np.random.default_rng(1).standard_normal((1, 9, 4, 8, 3)).astype(np.float32)


@functools.cache
def params():
    return drawn(NETWORK, jnp.asarray(CLIP[:, :1]))


@functools.partial(jax.jit, static_argnums=0)
def run(method, history, x):
    variables = {"params": params(), "history": history}
    said, kept = NETWORK.apply(variables, x, method=method, mutable=["history"])
    return said, kept["history"]


def whole(method, x):
    return run(method, {}, x)[0]


def test_parameters_of_the_published_network():
    """Catches a block, a norm, an attention or a convolution too many or too few."""
    x = jax.ShapeDtypeStruct((1, 1, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(VideoAutoencoder().init, jax.random.key(0), x)
    assert set(variables) == {"params"}
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 126_892_531
    assert (wan_vae().factor, wan_vae().frame_factor) == (8, 4)


def test_no_latent_sees_a_later_frame():
    """Catches padding after a clip, a norm over time, an image that is encoded in another way.

    Latent j stands for frames 4j - 3 to 4j, and latent 0 for frame 0: a change of frame 5 is seen
    from latent 2 on, and there it must be seen.
    """
    changed = CLIP.copy()
    changed[:, 5:] *= -1
    before, after = whole("encode", CLIP), whole("encode", changed)
    image = whole("encode", CLIP[:, :1])
    for name in ("mean", "log_variance"):
        value, other = getattr(before, name), getattr(after, name)
        assert value.shape == (1, 3, 1, 2, 2)
        np.testing.assert_allclose(getattr(image, name)[:, 0], value[:, 0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(other[:, :2], value[:, :2], rtol=1e-5, atol=1e-5)
        assert np.abs(other[:, 2] - value[:, 2]).max() > 0.1


def test_chunks_are_the_whole():
    """Catches a history of too few frames, of the wrong layer, or one that is not carried on."""
    said, history = run("encode", {}, CLIP[:, :1])
    means = [said.mean]
    for begin in (1, 5):
        said, history = run("encode", history, CLIP[:, begin : begin + 4])
        means.append(said.mean)
    expected = whole("encode", CLIP).mean
    np.testing.assert_allclose(np.concatenate(means, 1), expected, rtol=1e-4, atol=1e-5)

    z = np.random.default_rng(2).standard_normal((1, 4, 1, 2, 2)).astype(np.float32)
    expected = whole("decode", z)
    assert expected.shape == (1, 13, 4, 8, 3)
    history, frames = {}, []
    for begin, end in ((0, 2), (2, 3), (3, 4)):
        said, history = run("decode", history, z[:, begin:end])
        frames.append(said)
    np.testing.assert_allclose(np.concatenate(frames, 1), expected, rtol=1e-4, atol=1e-5)


def test_faint_features():
    """Catches an eps that counts: a branch is the same for features of any size, and not NaN."""
    block = ClipResidualBlock(3)
    x = jnp.asarray(CLIP[:, :2, :2, :2])
    weights = {"params": drawn(block, x)}
    branch = jax.jit(lambda x: block.apply(weights, x) - x)
    np.testing.assert_allclose(branch(1e-6 * x), branch(x), rtol=1e-4, atol=1e-5)
    slopes = jax.grad(lambda x: branch(x).sum())(0 * x)
    assert np.isfinite(branch(0 * x)).all() and np.isfinite(slopes).all()


def test_values_beyond_one(monkeypatch):
    """Catches decoded values that are not clamped where they are to be, or always."""
    monkeypatch.setattr(Decoder, "__call__", lambda network, z: z)
    z = jnp.asarray([-3.0, 0.5]).reshape(1, 1, 1, 1, 2)
    for clamp, expected in ((True, [-1, 0.5]), (False, [-3, 0.5])):
        network = VideoAutoencoder(replace(TINY, quant_convs=False, clamp=clamp))
        assert network.apply({}, z, method="decode").ravel().tolist() == expected


def test_settings_of_published_configs():
    """Catches a field that is not read, and Wan 2.2's parts that are passed over."""
    config = {
        "_class_name": "AutoencoderKLWan",
        "base_dim": 96,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
        "z_dim": 16,
        "attn_scales": [],
        "dropout": 0.0,
        "latents_mean": list(wan_vae().shift),
        "latents_std": [1 / value for value in wan_vae().scale],
    }
    found = settings_from_config(config)
    np.testing.assert_allclose(found.scale, wan_vae().scale, rtol=1e-12)
    assert replace(found, scale=wan_vae().scale) == wan_vae()
    assert settings_from_config({"_class_name": "AutoencoderKLWan"}) == wan_vae()
    other = {"base_dim": 8, "dim_mult": [1, 3], "temperal_downsample": [True], "z_dim": 2}
    other |= {"num_res_blocks": 3, "latents_mean": [1.0, 2.0], "latents_std": [4.0, 0.5]}
    assert settings_from_config(other) == VideoAutoencoderSettings(
        (8, 24), (True,), 3, latent_channels=2, scale=(0.25, 2.0), shift=(1.0, 2.0)
    )
    wrong = {"is_residual": True, "patch_size": 2, "decoder_base_dim": 8, "attn_scales": [1.0]}
    for name, value in {**wrong, "out_channels": 12, "dim_mult": [2, 2, 4, 4]}.items():
        with pytest.raises(ValueError, match=name):
            settings_from_config({**config, name: value})


def test_clips_and_settings_that_do_not_fit():
    """Catches an error that comes late or does not say what would be right."""
    shape = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    encode = lambda x, history={}: jax.eval_shape(functools.partial(run, "encode"), history, x)
    with pytest.raises(ValueError, match=r"8 frames: .* 1 \+ 4·n; the nearest: 5 and 9"):
        encode(shape(1, 8, 4, 4, 3))
    with pytest.raises(ValueError, match=r"4x6: .* multiple of 4"):
        encode(shape(1, 5, 4, 6, 3))
    with pytest.raises(ValueError, match=r"clips of 4 channels: .* have 3"):
        encode(shape(1, 5, 4, 4, 4))
    with pytest.raises(ValueError, match=r"latents of 3 channels: .* have 2"):
        jax.eval_shape(functools.partial(run, "decode"), {}, shape(1, 5, 4, 4, 3))
    _, history = encode(shape(1, 1, 4, 4, 3))
    with pytest.raises(ValueError, match=r"later chunk of 5 frames: .* 4·n; the nearest: 4 and 8"):
        encode(shape(1, 5, 4, 4, 3), history)
    for options in (
        {"channels": ()},
        {"channels": (4, 5), "halve_frames": (True,)},
        {"halve_frames": (True,)},
        {"latent_channels": 0},
        {"scale": (1.0, 2.0)},
        {"shift": (1.0, 2.0)},
    ):
        with pytest.raises(ValueError, match=[*options][-1] if len(options) == 1 else "even"):
            VideoAutoencoderSettings(**options)
