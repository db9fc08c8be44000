"""Adapters of other runs on a run: strengths, sums, and adapters that do not fit."""

import jax
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import points_config


def one():
    return Devices(make_mesh(jax.devices()[:1]))


def trained(folder, **fields):
    config = points_config()
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    with config.unlocked():
        config.update_from_flattened_dict(fields)
    Experiment(config, one()).train(folder)
    return str(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    base = trained(folder / "base")
    lora = {"adapters": {"lora": "LoRA(modules='kernel$', rank=2)"}, "weights.network": base}
    dora = {"adapters": {"mine": "DoRA(modules='out/kernel$', rank=1)"}, "weights.network": base}
    return {
        "base": base,
        "lora": trained(folder / "lora", **lora, seed=1),
        "dora": trained(folder / "dora", **dora, seed=2),
    }


def load(path):
    return jaxdiff.load(path, devices=one())


def network(run):
    return jax.device_get(run.weights["network"])


def close(tree, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), tree, other)


def test_a_run_with_the_adapter_of_another_is_that_other_run(runs):
    """Fails if factors are read of the wrong item, or merged otherwise than in training."""
    base = load(runs["base"])
    for name in ("lora", "dora"):
        other = load(runs[name])
        close(network(base.adapted({runs[name]: 1.0})), network(other))
        close(network(base.adapted({runs[name]: 0.0})), network(base))
    samples = base.adapted({runs["lora"]: 1.0}).sample(3, {"label": 1})
    np.testing.assert_allclose(samples, load(runs["lora"]).sample(3, {"label": 1}), atol=1e-5)


def test_strengths_scale_a_change_and_changes_add_up(runs):
    """Fails if a strength is taken for the base's, or a second adapter replaces the first."""
    base = load(runs["base"])
    change = lambda strengths: jax.tree.map(
        lambda a, b: a - b, network(base.adapted(strengths)), network(base)
    )
    times = lambda factor, tree: jax.tree.map(lambda leaf: factor * leaf, tree)
    whole = change({runs["lora"]: 1.0})
    close(change({runs["lora"]: -0.5}), times(-0.5, whole))
    both = base.adapted({runs["lora"]: 1.0}).adapted({runs["lora"]: 1.0})
    close(jax.tree.map(lambda a, b: a - b, network(both), network(base)), times(2.0, whole))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(whole))


def test_a_run_without_an_adapter_or_of_other_weights_is_named(runs, tmp_path):
    """Fails if a folder without factors changes nothing in silence."""
    base = load(runs["base"])
    with pytest.raises(ValueError, match=r"base: this run has no adapter"):
        base.adapted({runs["base"]: 1.0})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        base.adapted({"nowhere": 1.0})
    small = load(trained(tmp_path / "small", **{"network.features": 8}))
    with pytest.raises(ValueError, match=r"lora: adapter 'lora': "):
        small.adapted({runs["lora"]: 1.0})
