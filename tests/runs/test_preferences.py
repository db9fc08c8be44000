"""Runs that are tuned to a taste: from a teacher, by votes and by rewards, with their evaluator."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment
from jaxdiff.runs.voting import draw_pairs, record
from jaxdiff.training.step import make_step
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import points_config, tiny_config

RECIPE = Path(__file__).parents[2] / "configs/digits_preferences.py"


def one():
    return Devices(make_mesh(jax.devices()[:1]))


def tuned(config, **fields):
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    with config.unlocked():
        config.update_from_flattened_dict(fields)
    return config


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run of points."""
    folder = tmp_path_factory.mktemp("teacher")
    Experiment(tuned(points_config()), one()).train(folder)
    return str(folder)


def logged(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "loss" in line]


@pytest.mark.parametrize("name", ["DiffusionNFT", "FlowGRPO"])
def test_a_run_is_tuned_by_a_reward(name, teacher, tmp_path):
    """Fails if the student does not begin as the teacher, or groups are of dropped conditions."""
    fields = {
        "objective": f"{name}(group=4, steps=3)",
        "weights.teacher": teacher,
        "condition_dropout": 0.0,
    }
    Experiment(tuned(points_config(), **fields), one()).train(tmp_path)
    first, _ = logged(tmp_path)
    np.testing.assert_allclose(first["drift"], 0, atol=1e-5)
    if name == "FlowGRPO":
        np.testing.assert_allclose(first["ratio"], 1, atol=1e-5)
    with pytest.raises(ValueError, match=f"{name}: condition_dropout=0.1 must be 0"):
        Experiment(tuned(points_config(), **{**fields, "condition_dropout": 0.1}), one())
    with pytest.raises(ValueError, match=f"{name}: group=5 does not divide batch_size=16"):
        wrong = {**fields, "objective": f"{name}(group=5)"}
        Experiment(tuned(points_config(), **wrong), one())


class OfPlaces:
    """A reward that reads a field which the network does not know: the example's point."""

    reads = ("point",)

    def __call__(self, images, cond):
        return cond["point"].astype(np.float32)


def test_a_reward_reads_a_field_of_the_examples():
    """Fails if the field does not reach the reward, or not that of the group's first example."""
    reward = f"{OfPlaces.__module__}:{OfPlaces.__name__}"
    fields = {"objective": f"DiffusionNFT(reward='{reward}', group=4, steps=3)"}
    config = tuned(points_config(), condition_dropout=0.0, **fields)
    experiment = Experiment(config, one())
    assert "point" in experiment.task.fields
    example = experiment.task.example(16)
    assert example["point"].shape == (16,)
    batch = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), example)
    step = jax.jit(make_step(experiment.recipe))
    state, numbers = experiment.init(), experiment.recipe.numbers(0)
    _, metrics = step(state, {**batch, "point": jnp.arange(16)}, numbers)
    np.testing.assert_allclose(metrics["reward"], np.mean([0, 4, 8, 12]), rtol=1e-6)


@pytest.mark.slow
def test_a_run_is_tuned_by_votes_on_its_own_pictures(tmp_path):
    """Fails if pairs are drawn of two conditions, or the task does not read the rejected ones."""
    Experiment(tuned(tiny_config()), one()).train(tmp_path / "base")
    run = jaxdiff.load(tmp_path / "base", devices=one())
    votes = tmp_path / "votes"
    pairs, pictures = draw_pairs(run, 20, {"label": np.arange(20) % 10}, votes, guidance_scale=1.0)
    assert pictures.shape == (20, 2, 8, 8, 1)
    for pair in pairs:
        record(votes, pair, first=True)
    with pytest.raises(ValueError, match="has votes of other pairs"):
        draw_pairs(run, 20, {"label": np.zeros(20, int)}, votes, guidance_scale=1.0)
    fields = {
        "objective": "DiffusionDPO(beta=100.0)",
        "weights.teacher": str(tmp_path / "base"),
        "evaluation.split": "all",
        "data": {
            "name": "votes",
            "shape": (8, 8, 1),
            "num_classes": 10,
            "file": str(votes / "votes.jsonl"),
            "channels": 1,
            "classes": 10,
        },
    }
    config = tuned(tiny_config(), **fields)
    Experiment(config, one()).train(tmp_path / "tuned")
    first, second = logged(tmp_path / "tuned")
    np.testing.assert_allclose(first["loss"], np.log(2), rtol=1e-3)
    assert second["loss"] < first["loss"] + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["nft", "grpo", "dpo"])
def test_the_recipe_traces(variant, monkeypatch):
    """Fails if a field of the recipe does not fit the objective."""
    spec = importlib.util.spec_from_file_location("digits_preferences", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(variant)
    monkeypatch.setattr("jaxdiff.tasks.students.check_objective", lambda *given: None)
    experiment = Experiment(config, one())
    if variant == "nft":
        state, batch = experiment.abstract_state(), experiment.task.example(16)
        step = make_step(experiment.recipe)
        _, metrics = jax.eval_shape(step, state, batch, experiment.recipe.numbers(0))
        assert "reward" in metrics
