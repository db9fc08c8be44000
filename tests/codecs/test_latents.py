"""Images to latents and back with a frozen autoencoder, and autoencoders from files."""

import functools
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import config as defaults
from jaxdiff.codecs.latents import Latents, load_autoencoder
from jaxdiff.networks.autoencoder import AutoencoderKL, AutoencoderSettings, Gaussian
from jaxdiff.networks.vector_quantized import AutoencoderVQ
from jaxdiff.networks.video_autoencoder import VideoAutoencoder, VideoAutoencoderSettings
from jaxdiff.pretrained import save, to_theirs
from jaxdiff.pretrained.tables.autoencoder import DEPRECATED_ATTENTION, autoencoder, ldm_autoencoder
from jaxdiff.pretrained.tables.video_autoencoder import video_autoencoder, wan_autoencoder
from jaxdiff.tasks.diffusion import Diffusion
from jaxdiff.typing import Draw

SETTINGS = AutoencoderSettings(
    (4, 8), 1, latent_channels=2, middle_attention=False, num_groups=2, scale=0.5, shift=0.25
)
NETWORK = AutoencoderKL(SETTINGS)
ATTENTIVE = AutoencoderKL(replace(SETTINGS, middle_attention=True))
IMAGES = np.random.default_rng(1).standard_normal((2, 4, 6, 3)).astype(np.float32)


@functools.cache
def drawn(network):
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(IMAGES))["params"]
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32) / 4
    return jax.tree.map(draw, shapes)


KEYS = jax.random.split(jax.random.key(3), 2)


class Stub:
    """An autoencoder that leaves out every other pixel, and doubles."""

    settings = SETTINGS

    def __init__(self, log_variance):
        self.log_variance = log_variance

    def apply(self, variables, x, method):
        gain = variables["params"]["gain"]
        if method == "decode":
            return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2) / gain
        z = gain * x[:, ::2, ::2]
        spread = jnp.full_like(z, self.log_variance or 0)
        return z if self.log_variance is None else Gaussian(z, spread)


PARAMS = {"gain": 2.0}
SMALL = jnp.asarray(IMAGES[:, ::2, ::2])
LARGE = np.repeat(np.repeat(SMALL, 2, 1), 2, 2)


def test_samples_of_the_posterior():
    """Catches scale before shift, a mode for a sample, noise that belongs to the batch."""
    codec = Latents(Stub(np.log(0.25)))
    noise = jnp.stack([jax.random.normal(key, SMALL.shape[1:]) for key in KEYS])
    found = codec.encode(PARAMS, LARGE, KEYS)
    np.testing.assert_allclose(found, (2 * SMALL + 0.5 * noise - 0.25) * 0.5, rtol=1e-5, atol=1e-6)
    exchanged = codec.encode(PARAMS, LARGE[::-1], KEYS[::-1])
    np.testing.assert_array_equal(exchanged[::-1], found)


@pytest.mark.parametrize("log_variance", [0.0, None], ids=["KL", "VQ"])
def test_modes_and_back(log_variance):
    """Catches keys that still count, and a decoder that is given scaled latents."""
    codec = Latents(Stub(log_variance), sample=False)
    z = codec.encode(PARAMS, LARGE, KEYS)
    np.testing.assert_allclose(z, (2 * SMALL - 0.25) * 0.5, rtol=1e-6)
    np.testing.assert_allclose(codec.decode(PARAMS, z), LARGE, rtol=1e-5, atol=1e-6)


class ClipStub:
    """An autoencoder of clips that keeps every frame, and counts its channels from one."""

    settings = VideoAutoencoderSettings(
        (4,), (), latent_channels=3, scale=(0.5, 2.0, 4.0), shift=(1.0, -1.0, 0.25)
    )

    def apply(self, variables, x, method):
        gain = variables["params"]["gain"] * jnp.arange(1.0, 4.0)
        return x / gain if method == "decode" else Gaussian(x * gain, jnp.zeros_like(x))


def test_a_scale_for_each_channel_of_clips():
    """Catches numbers per channel that are not along the channels, and clips that are refused."""
    clips = jnp.asarray(IMAGES[:, None])
    codec = Latents(ClipStub(), sample=False)
    z = codec.encode(PARAMS, clips, KEYS)
    expected = (2 * clips * np.array([1, 2, 3]) - np.array([1, -1, 0.25])) * np.array([0.5, 2, 4])
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(codec.decode(PARAMS, z), clips, rtol=1e-5, atol=1e-6)
    drawn = Latents(ClipStub()).encode(PARAMS, clips, KEYS)
    noise = jnp.stack([jax.random.normal(key, clips.shape[1:]) for key in KEYS])
    np.testing.assert_allclose(
        drawn, expected + noise * np.array([0.5, 2, 4]), rtol=1e-5, atol=1e-5
    )
    assert codec.decode(PARAMS, z.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_half_precision():
    """Catches latents or images that are in the network's type instead of the caller's."""
    codec = Latents(AutoencoderKL(SETTINGS, jnp.bfloat16))
    params = drawn(NETWORK)
    z = jax.eval_shape(codec.encode, params, jnp.asarray(IMAGES), KEYS)
    images = jax.eval_shape(codec.decode, params, z)
    assert (z.shape, z.dtype) == ((2, 2, 3, 2), jnp.float32)
    assert (images.shape, images.dtype) == (IMAGES.shape, jnp.float32)


def test_a_training_step_sees_latents():
    """Catches parameters that do not come from the weights, and images that are not encoded."""
    seen = []

    def objective(roles, x0, cond, draw, step):
        del roles, cond, draw, step
        seen.append(x0.shape)
        return x0.mean((1, 2, 3)), {"logsnr": jnp.zeros(len(x0))}

    config = defaults.default()
    config.data, config.network = {"shape": (2,), "num_classes": 0}, {"name": "MLP"}
    task = Diffusion(config)
    task.codec, task.objective = Latents(Stub(0.0)), objective
    batch, draw = {"x": jnp.asarray(IMAGES)}, Draw(KEYS, jnp.zeros(2))
    weights = {"network": {}, "codec": PARAMS}
    losses = lambda weights: (
        task.losses(weights, weights, {}, batch, draw, jnp.zeros((), int)).by_player
    )
    assert jax.eval_shape(losses, weights)["model"].shape == (2,)
    assert seen == [(2, 2, 3, 3)]
    with pytest.raises(ValueError, match="codec"):
        losses({"network": {}})


def write(folder, tensors, config):
    from safetensors.numpy import save_file  # noqa: PLC0415 - of the extra `pretrained`

    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config))


CONFIG = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [4, 8],
    "layers_per_block": 1,
    "latent_channels": 2,
    "norm_num_groups": 2,
    "scaling_factor": 0.5,
    "shift_factor": 0.25,
}


def same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("attention", ["to_q", "query"])
def test_files_of_diffusers(tmp_path, attention):
    """Catches a table that is chosen by other keys, and settings that are not in the config."""
    params = drawn(ATTENTIVE)
    options = () if attention == "to_q" else (DEPRECATED_ATTENTION,)
    save(autoencoder(2, *options), params, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    found, theirs = load_autoencoder(tmp_path)
    assert found == ATTENTIVE
    same(params, theirs)


def test_files_of_a_codebook(tmp_path):
    """Catches a VQ config that is read as a KL one, and a width of codes that is left out."""
    network = AutoencoderVQ(SETTINGS, num_codes=5, code_channels=3)
    params = drawn(network)
    save(autoencoder(2), params, tmp_path / "diffusion_pytorch_model.safetensors")
    codes = {
        "_class_name": "VQModel",
        "num_vq_embeddings": 5,
        "vq_embed_dim": 3,
        "mid_block_add_attention": False,
    }
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **codes}))
    found, theirs = load_autoencoder(tmp_path)
    assert found == network
    same(params, theirs)


@pytest.mark.parametrize("table", [video_autoencoder, wan_autoencoder])
def test_files_of_clips(tmp_path, table):
    """Catches Wan's config that is read as an image autoencoder's, and a factor for a deviation."""
    settings = VideoAutoencoderSettings(
        (4, 8), (True,), 1, latent_channels=2, scale=(0.25, 2.0), shift=(1.0, 2.0)
    )
    network = VideoAutoencoder(settings)
    x = jax.ShapeDtypeStruct((1, 1, 2, 2, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), shapes)
    save(table(2, 1), params, tmp_path / "diffusion_pytorch_model.safetensors")
    config = {"_class_name": "AutoencoderKLWan", "base_dim": 4, "dim_mult": [1, 2], "z_dim": 2}
    config |= {"num_res_blocks": 1, "temperal_downsample": [True]}
    config |= {"latents_mean": [1.0, 2.0], "latents_std": [4.0, 0.5]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found, theirs = load_autoencoder(tmp_path)
    assert found == network
    same(params, theirs)


def test_the_file_of_a_whole_model(tmp_path):
    """Catches a prefix that stays, other parts of the model in the way, a file without config."""
    params = drawn(ATTENTIVE)
    ours = {f"first_stage_model.{k}": v for k, v in to_theirs(ldm_autoencoder(), params).items()}
    tensors = {**ours, "model.diffusion_model.out.2.bias": np.zeros(4, np.float32)}
    write(tmp_path, {k: np.ascontiguousarray(v) for k, v in tensors.items()}, None)
    same(params, load_autoencoder(tmp_path, ATTENTIVE)[1])
    with pytest.raises(ValueError, match=r"there is no file .*config.json"):
        load_autoencoder(tmp_path)


def test_files_of_something_else(tmp_path):
    """Catches a hundred missing keys where one sentence says it."""
    write(tmp_path, {"conv_in.weight": np.zeros((4, 3, 3, 3), np.float32)}, CONFIG)
    with pytest.raises(ValueError, match="not an autoencoder"):
        load_autoencoder(tmp_path)
    with pytest.raises(ValueError, match=r"VideoAutoencoder, but AutoencoderKL in .*config.json"):
        load_autoencoder(tmp_path, VideoAutoencoder(ClipStub.settings))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="not an autoencoder of clips"):
        load_autoencoder(tmp_path, VideoAutoencoder(ClipStub.settings))
