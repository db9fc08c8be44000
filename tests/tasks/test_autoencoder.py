"""The autoencoder as a task: its players, its measured latents, and its run as a codec."""

import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import jaxdiff
from jaxdiff import Experiment, Run, random
from jaxdiff import config as defaults
from jaxdiff.codecs.moments import absorbed_moments, no_moments, observed_moments, shift_and_scale
from jaxdiff.objectives.autoencoder import perceptual_error
from jaxdiff.runs.publish import publish, rounded
from jaxdiff.tasks.autoencoder import LAST_LAYER, Autoencoder
from jaxdiff.tasks.contrastive import Contrastive
from jaxdiff.typing import Draw
from jaxdiff.weights.devices import Devices, make_mesh

SIZES = {"channels": (4, 8), "layers_per_block": 1, "latent_channels": 2, "image_channels": 1}
SIZES |= {"middle_attention": False, "num_groups": 2, "scale": 0.5}
CODES = {**SIZES, "num_codes": 6}
CRITIC = {"name": "PatchDiscriminator", "channels": (4,)}
ENCODER = {"name": "ResidualClassifier", "channels": (4, 4), "features": 8, "num_groups": 2}


def config_of(task="Autoencoder", **options):
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.task = {"name": task, **options}
    if task == "Autoencoder":
        config.task = {"autoencoder": SIZES, **config.task}
    config.batch_size = 8
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    config.evaluation.evaluators = ()
    return config


def one():
    return Devices(make_mesh(jax.devices()[:1]))


def task_of(config):
    options = {k: v for k, v in config.task.to_dict().items() if k != "name"}
    return Autoencoder(config, **options)


def batch_of(size=8, shape=(8, 8, 1)):
    keys = random.example_keys(jax.random.key(0), jnp.arange(size))
    x = jax.random.uniform(jax.random.key(1), (size, *shape), minval=-1)
    return {"x": x}, Draw(keys, jnp.zeros(size))


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """The run of a contrastive encoder with feature maps."""
    folder = tmp_path_factory.mktemp("contrastive")
    config = config_of("Contrastive", encoder=ENCODER, embedding=4)
    (folder / "config.json").write_text(config.to_json())
    rng = np.random.default_rng(0)
    shapes = {"network": Contrastive(config, ENCODER, 4).table().shapes()["network"]}
    values = jax.tree.map(lambda s: rng.normal(0, 0.1, s.shape).astype(np.float32), shapes)
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save((folder / "checkpoints" / "1" / "ema").absolute(), values)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, features):
    """A run with every term: pixels, features, latents, an adversary."""
    folder = tmp_path_factory.mktemp("autoencoder")
    config = config_of(discriminator=CRITIC)
    config.weights.perceptual = str(features)
    config.evaluation.evaluators = ("Reconstructions",)
    config.evaluation.num = 20
    experiment = Experiment(config, one())
    return folder, experiment, jax.device_get(experiment.train(folder))


def test_both_players_move_and_one_is_averaged(trained):
    """Fails if the critic is averaged, a player's weights stay, or the features are trained."""
    folder, experiment, state = trained
    begun = jax.device_get(experiment.init())
    assert set(state.ema) == {"network"}
    assert set(state.frozen) == {"perceptual"}
    for name in ("network", "discriminator"):
        pairs = zip(*map(jax.tree.leaves, (begun.params[name], state.params[name])), strict=True)
        assert any((a != b).any() for a, b in pairs)
    line = (folder / "metrics.jsonl").read_text()
    for name in ("error", "kl", "perceptual", "adversary_factor", "real_score", "psnr", "ssim"):
        assert f'"{name}"' in line
    assert list((folder / "samples").glob("*.png"))


@pytest.fixture(scope="module")
def in_latents(trained):
    """An experiment whose codec is that run."""
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.codec = {"name": "RunLatents", "sample": False}
    config.weights.codec = str(trained[0])
    config.network = {"name": "UNet", "channels": (8,), "layers_per_block": 1}
    return Experiment(config, one())


def test_a_run_in_latents_is_published_with_its_autoencoder(in_latents, trained, tmp_path):
    """Fails if a moved folder lacks its codec, its scale, or is read with another one."""
    frozen = in_latents.load_frozen()
    random = lambda s: jnp.asarray(np.random.default_rng(0).normal(size=s.shape), jnp.float32)
    network = jax.tree.map(random, in_latents.abstract_state().ema)
    run = Run(in_latents, {**frozen, **network}, 5)
    publish(run, tmp_path / "both", "Data: digits.")
    publish(run, tmp_path / "second", codec=tmp_path / "both" / "codec")
    (tmp_path / "moved").mkdir()
    for name in ("both", "second"):
        shutil.move(tmp_path / name, tmp_path / "moved" / name)
    small = jax.tree.map(lambda a: rounded(a).astype(a.dtype), run.weights["codec"])
    for name in ("both", "second"):
        found = jaxdiff.load(tmp_path / "moved" / name, devices=one())
        jax.tree.map(np.testing.assert_array_equal, found.weights["codec"], small)
        text = (tmp_path / "moved" / name / "config.json").read_text()
        assert str(tmp_path) not in text and "perceptual" not in text
    codec = tmp_path / "moved" / "both" / "codec"
    with pytest.raises(ValueError, match=r"codec=.* has other weights than the run"):
        other = jax.tree.map(lambda a: a + 1, frozen["codec"])
        publish(
            dataclasses.replace(run, weights={**run.weights, "codec": other}),
            tmp_path / "3",
            codec=codec,
        )
    checksums = codec / "checkpoints" / "2" / "checksums" / "metadata"
    kept = checksums.read_text()
    shutil.rmtree(codec)
    publish(jaxdiff.load(trained[0], devices=one()), codec)
    assert checksums.read_text() == kept
    changed = jax.tree.map(lambda a: a + 1, jaxdiff.load(codec, devices=one()).weights)
    shutil.rmtree(codec)
    folder = dataclasses.replace(jaxdiff.load(trained[0], devices=one()), weights=changed)
    publish(folder, codec)
    with pytest.raises(ValueError, match=r"weights\.codec: the run in .* began with other weights"):
        jaxdiff.load(tmp_path / "moved" / "both", devices=one())


def test_a_run_is_the_codec_of_another(in_latents, trained):
    """Fails if latents are made by other weights, or are not scaled as the run measured them."""
    _, first, state = trained
    experiment = in_latents
    frozen = jax.device_get(experiment.load_frozen()["codec"])
    jax.tree.map(np.testing.assert_array_equal, frozen["network"], state.ema["network"])
    jax.tree.map(np.testing.assert_array_equal, frozen["latents"], state.statistics["latents"])
    assert frozen["latents"]["count"] == 2
    assert experiment.task.latent_shape == (4, 4, 2)
    batch, draw = batch_of()
    codec = experiment.task.codec
    z = jax.jit(codec.encode)(frozen, batch["x"], draw.keys)
    plain = jax.jit(first.task.encode)(state.ema["network"], batch["x"])
    shift, scale = shift_and_scale(jax.tree.map(jnp.asarray, state.statistics["latents"]))
    np.testing.assert_allclose(z, (plain - shift) * scale, atol=1e-5)
    again = jax.jit(first.task.decode)(state.ema["network"], plain)
    np.testing.assert_allclose(jax.jit(codec.decode)(frozen, z), again, atol=1e-4)


def test_sizes_may_stand_in_for_a_run_that_is_not_there(trained, tmp_path):
    """Fails if a recipe needs the run to be built, or another autoencoder passes for the one."""
    codec = jaxdiff.codecs.RunLatents(autoencoder=SIZES, weights=str(tmp_path / "none"))
    there = jaxdiff.codecs.RunLatents(weights=str(trained[0]))
    assert codec.shapes() == there.shapes()
    with pytest.raises(ValueError, match="holds no run"):
        codec.load(codec.shapes())
    other = {**SIZES, "latent_channels": 3}
    with pytest.raises(ValueError, match=r"has latent_channels=2, but 3 is named"):
        jaxdiff.codecs.RunLatents(autoencoder=other, weights=str(trained[0]))
    with pytest.raises(ValueError, match="RunLatents: name a run of the task Autoencoder"):
        jaxdiff.codecs.RunLatents()


def test_running_moments_are_those_of_all_latents():
    """Fails if the variance within a posterior is left out, or batches count unequally."""
    rng = np.random.default_rng(0)
    mean, deviation = rng.normal(2, 3, (5, 8, 4, 4, 2)), np.array([0.5, 2.0])
    moments = no_moments(2)
    for batch in mean:
        moments = absorbed_moments(
            moments, observed_moments(jnp.asarray(batch), jnp.asarray(deviation) ** 2)
        )
    shift, scale = shift_and_scale(moments)
    drawn = mean + deviation * rng.normal(size=(400, *mean.shape))
    np.testing.assert_allclose(shift, mean.mean((0, 1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(1 / scale, drawn.std((0, 1, 2, 3, 4)), rtol=1e-2)


def test_the_adversary_waits_and_then_weighs_as_the_last_layer_s_gradient(trained):
    """Fails if the factor counts from another step, or is no ratio of gradients of that layer."""
    config = config_of(discriminator=CRITIC, adversary_from=5, adversary_weight=1.0)
    task, weights, (batch, draw) = task_of(config), trained[2].params, batch_of()

    @jax.jit
    def factor(step):
        found = task.losses(weights, {}, task.begin(), batch, draw, step)
        return found.metrics["adversary_factor"][0], found.by_player["autoencoder"].mean()

    (before, loss), (after, _) = factor(jnp.array(4)), factor(jnp.array(5))
    assert before == 0
    assert jnp.isfinite(loss)

    def gradient(of):
        """The norm of a loss's gradient with regard to the last kernel, by plain autodiff."""

        def loss(kernel):
            network = jax.tree.map(lambda a: a, weights["network"])
            network[LAST_LAYER[0]][LAST_LAYER[1]][LAST_LAYER[2]] = kernel
            z, *_ = task._latents(network, batch["x"], draw)
            return of(task.decode(network, z))

        kernel = weights["network"]["decoder"]["conv_out"]["kernel"]
        return jnp.linalg.norm(jax.jit(jax.grad(loss))(kernel).ravel())

    judge = lambda y: task.critic.apply({"params": weights["discriminator"]}, y)
    error = gradient(lambda y: jnp.abs(y - batch["x"]).mean())
    np.testing.assert_allclose(after, error / gradient(lambda y: -judge(y).mean()), rtol=1e-3)


@pytest.mark.slow
def test_a_codebook_moves_to_the_latents_and_they_to_it():
    """Fails if the codes or the encoder get no gradient, or a weight is unused."""
    config = config_of(autoencoder=CODES, codebook_weight=1.0, commitment_weight=0.0)
    task, (batch, draw) = task_of(config), batch_of()
    params = jax.jit(task.table().entries["network"].init)(jax.random.key(0))

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(params):
        losses = task.losses({"network": params}, {}, task.begin(), batch, draw, jnp.array(0))
        return losses.by_player["autoencoder"].mean(), losses

    found, losses = gradient(params)
    assert jnp.abs(found["codebook"]).max() > 0
    assert jnp.abs(found["encoder"]["conv_in"]["kernel"]).max() > 0
    assert set(losses.metrics) == {"error", "codebook", "commitment", "perplexity"}
    want = losses.metrics["error"] + losses.metrics["codebook"]
    np.testing.assert_allclose(losses.by_player["autoencoder"], want, rtol=1e-5)


@pytest.mark.slow
def test_an_autoencoder_of_clips_takes_images_as_clips_of_one_frame():
    """Fails if an image is decoded to another one than the clip's first frame."""
    sizes = {"name": "VideoAutoencoderSettings", "channels": (4, 8), "halve_frames": (True,)}
    sizes |= {"layers_per_block": 1, "latent_channels": 2, "image_channels": 1}
    sizes |= {"middle_attention": False}
    images = config_of(autoencoder=sizes)
    clips = config_of(autoencoder=sizes, discriminator={**CRITIC, "frames": 2})
    clips.data = {"name": "moving_digits", "shape": (3, 16, 16, 1), "num_classes": 10}
    of_clips, of_images = task_of(clips), task_of(images)
    table = of_clips.table().entries
    made = {name: table[name].abstract() for name in table}
    made["network"] = jax.jit(table["network"].init)(jax.random.key(0))
    batch, draw = batch_of(4, (3, 16, 16, 1))
    run = lambda made: of_clips.losses(made, {}, of_clips.begin(), batch, draw, jnp.array(0))
    losses = jax.eval_shape(run, made)
    assert losses.by_player["autoencoder"].shape == (4,)
    z = jax.jit(of_clips.encode)(made["network"], batch["x"])
    assert z.shape == (4, 2, 8, 8, 2)
    first = jax.jit(of_images.encode)(made["network"], batch["x"][:, 0])
    np.testing.assert_allclose(first[:, 0], z[:, 0], atol=1e-5)
    image = jax.jit(of_images.decode)(made["network"], first)
    clip = jax.jit(of_clips.decode)(made["network"], z)
    np.testing.assert_allclose(image, clip[:, 0], atol=1e-5)


def test_the_perceptual_error_is_of_directions_and_averaged_over_layers():
    """Two layers, of which one differs by a right angle: |a - b|² = 2, over two layers 1."""
    a = (jnp.ones((3, 2, 2, 4)), jnp.zeros((3, 1, 1, 2)).at[..., 0].set(5.0))
    b = (3 * jnp.ones((3, 2, 2, 4)), jnp.zeros((3, 1, 1, 2)).at[..., 1].set(0.1))
    np.testing.assert_allclose(perceptual_error(a, b), 1.0, rtol=1e-4)


def test_what_does_not_fit_is_named(trained, features):
    with pytest.raises(ValueError, match="kl_weight is -1"):
        Experiment(config_of(kl_weight=-1.0), one())
    config = config_of(discriminator=CRITIC)
    config.accumulate = 2
    with pytest.raises(ValueError, match="accumulate=2: the loss compares the examples"):
        Experiment(config, one())
    config = config_of()
    config.weights.perceptual = str(trained[0])
    with pytest.raises(ValueError, match=r"weights\.perceptual: .* task Autoencoder, not Contrast"):
        Experiment(config, one())
    config.weights.perceptual = "nowhere"
    with pytest.raises(ValueError, match=r"weights\.perceptual: nowhere holds no run"):
        Experiment(config, one())
    with pytest.raises(ValueError, match=r"RunLatents\.weights: .* Contrastive, not of Auto"):
        jaxdiff.codecs.RunLatents(weights=str(features))
    run = jaxdiff.load(trained[0], devices=one())
    assert run.sample(3).shape == (3, 8, 8, 1)
    with pytest.raises(ValueError, match="without conditions"):
        run.sample(3, {"label": 1})


def test_a_student_of_pixels_takes_features_too(features):
    """pMF's perceptual loss; fails if it is not asked for by name, or its features are trained."""
    config = config_of("Diffusion")
    config.network = {"name": "UNet", "channels": (8,), "layers_per_block": 1}
    config.network.inputs = {"scalars": {"until": 1.0}}
    config.process, config.parameterization = "RectifiedFlow", "flow_x0"
    config.objective = "ImprovedMeanFlow(perceptual_weight=0.4)"
    with pytest.raises(ValueError, match=r"perceptual_weight=0\.4 needs features"):
        Experiment(config, one())
    config.weights.perceptual = str(features)
    experiment = Experiment(config, one())
    assert set(experiment.abstract_state().frozen) == {"perceptual"}
    config.objective = "ImprovedMeanFlow"
    with pytest.raises(ValueError, match=r"weights has \['perceptual'\]"):
        Experiment(config, one())
