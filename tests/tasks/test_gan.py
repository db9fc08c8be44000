"""The adversarial pair: learns, loses no modes with its penalty, and resumes bit for bit."""

import importlib.util

import jax
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.forked import ROOT


def config_of(variant="eight_gaussians", steps=400):
    spec = importlib.util.spec_from_file_location("toy_gan", ROOT / "configs" / "toy_gan.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(variant)
    config.network.features = config.task.discriminator.features = 16
    config.network.num_blocks = config.task.discriminator.num_blocks = 1
    config.train.update(steps=steps, log_every=20, checkpoint_every=20, evaluate_every=0)
    config.evaluation.evaluators = ()
    return config


def one():
    return Devices(make_mesh(jax.devices()[:1]))


def test_a_run_resumes_bit_for_bit(tmp_path):
    """20 + 20 = 40; fails if a player's optimizer, cadence or weights are lost or averaged."""
    final = []
    for name, parts in (("whole", [40]), ("parts", [20, 40])):
        for steps in parts:
            config = config_of(steps=steps)
            config.optimizers.network = {"every": 2}
            state = Experiment(config, one()).train(tmp_path / name)
        final.append(jax.device_get(state))
    assert set(final[0].params) == {"network", "discriminator"}
    assert set(final[0].ema) == {"network"}
    jax.tree.map(np.testing.assert_array_equal, *final)
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert "loss_generator" in lines and "learning_rate_discriminator" in lines
    run = jaxdiff.load(tmp_path / "whole", devices=one())
    samples = run.sample(10, seed=3)
    np.testing.assert_allclose(run.sample(3, seed=3, first=7), samples[7:], atol=1e-6)
    np.testing.assert_allclose(run.sample(10, seed=3, batch_size=4), samples, atol=1e-6)
    with pytest.raises(ValueError, match="without conditions and guidance"):
        run.sample(4, {"label": 1})


@pytest.mark.slow
def test_the_recipe_reaches_all_modes(optimized, tmp_path):
    """Fails if a player trains the other's weights, or the penalty has the wrong sign."""
    config = config_of(steps=2500)
    config.network.features = config.task.discriminator.features = 64
    with optimized():
        experiment = Experiment(config, one())
        state = experiment.train(tmp_path)
        found = jaxdiff.Run.of(experiment, state).evaluate("ModeCoverage", num=2000)
    assert found["modes"] == 8
    assert found["modes_covered"] >= 7
    assert found["share_near_a_mode"] > 0.6


def test_what_does_not_fit_is_named():
    config = config_of()
    config.conditions = ("label",)
    with pytest.raises(ValueError, match="GAN is unconditional"):
        Experiment(config, one())
    config = config_of()
    config.task.penalty = -1.0
    with pytest.raises(ValueError, match="penalty is -1"):
        Experiment(config, one())
