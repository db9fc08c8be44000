"""The autoencoder as a task: its two players, and its run as a codec of another run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment, random
from jaxdiff import config as defaults
from jaxdiff.tasks.autoencoder import Autoencoder
from jaxdiff.typing import Draw
from jaxdiff.weights.devices import Devices, make_mesh

SIZES = {"channels": (4, 8), "layers_per_block": 1, "latent_channels": 2, "image_channels": 1}
SIZES |= {"middle_attention": False, "num_groups": 2, "scale": 0.5}
CRITIC = {"name": "PatchDiscriminator", "channels": (4,)}


def config_of(**task):
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.task = {"name": "Autoencoder", "autoencoder": SIZES, **task}
    config.batch_size = 8
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    config.evaluation.evaluators = ()
    return config


def one():
    return Devices(make_mesh(jax.devices()[:1]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    config = config_of(discriminator=CRITIC)
    experiment = Experiment(config, one())
    return folder, experiment, jax.device_get(experiment.train(folder))


def test_both_players_move_and_one_is_averaged(trained):
    """Fails if the critic is averaged, or a player's weights stay."""
    _, experiment, state = trained
    begun = jax.device_get(experiment.init())
    assert set(state.ema) == {"network"}
    for name in ("network", "discriminator"):
        pairs = zip(*map(jax.tree.leaves, (begun.params[name], state.params[name])), strict=True)
        assert any((a != b).any() for a, b in pairs)


def test_a_run_is_the_codec_of_another(trained, tmp_path):
    """Fails if latents are made by other weights than the average of the run."""
    folder, _, state = trained
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.codec = {"name": "Latents", "autoencoder": SIZES}
    config.weights.codec = str(folder)
    config.network = {"name": "UNet", "channels": (8,), "layers_per_block": 1}
    experiment = Experiment(config, one())
    frozen = experiment.load_frozen()["codec"]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(frozen), state.ema["network"])
    assert experiment.task.latent_shape == (4, 4, 2)


def test_the_adversary_waits_and_then_weighs_as_the_error_s_gradient(trained):
    """Fails if the factor counts from another step, or is not the ratio of the gradients."""
    config = config_of(discriminator=CRITIC, adversary_from=5, adversary_weight=1.0)
    task = Autoencoder(config, **{k: v for k, v in config.task.to_dict().items() if k != "name"})
    weights = trained[2].params
    keys = random.example_keys(jax.random.key(0), jnp.arange(8))
    batch = {"x": jax.random.uniform(jax.random.key(1), (8, 8, 8, 1))}

    @jax.jit
    def factor(step):
        found = task.losses(weights, {}, {}, batch, Draw(keys, jnp.zeros(8)), step)
        return found.metrics["adversary_factor"][0], found.by_player["autoencoder"].mean()

    (before, loss), (after, _) = factor(jnp.array(4)), factor(jnp.array(5))
    assert before == 0
    assert after > 0
    assert jnp.isfinite(loss)


def test_what_does_not_fit_is_named(trained):
    with pytest.raises(ValueError, match="kl_weight is -1"):
        Experiment(config_of(kl_weight=-1.0), one())
    config = config_of(discriminator=CRITIC)
    config.accumulate = 2
    with pytest.raises(ValueError, match="accumulate=2: the loss compares the examples"):
        Experiment(config, one())
    run = jaxdiff.load(trained[0], devices=one())
    assert run.sample(3).shape == (3, 8, 8, 1)
    with pytest.raises(ValueError, match="without conditions"):
        run.sample(3, {"label": 1})
