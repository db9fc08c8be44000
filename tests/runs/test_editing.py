"""Edits with a run: a picture comes back under its own condition, and seeds have a way between."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxdiff import Experiment
from jaxdiff.runs.editing import edit, interpolate
from jaxdiff.runs.run import Run
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import points_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = points_config()
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:1])))
    run = Run.of(experiment, experiment.train(tmp_path_factory.mktemp("run")))
    # A network that has learned nothing ignores its condition.
    draw = np.random.default_rng(0)
    moved = lambda w: w + 0.3 * draw.normal(size=w.shape).astype(np.float32)
    return replace(run, weights=jax.tree.map(moved, run.weights))


def test_a_point_edited_to_its_own_condition_is_itself(run):
    """Fails if the two passes have other guidance, times or noise; another label moves it."""
    points = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    options = {"steps": 8, "strength": 1.0, "source_scale": 2.0}
    same = edit(run, points, {"label": 1}, {"label": 1}, target_scale=2.0, **options)
    np.testing.assert_allclose(same, points, atol=2e-3)
    other = edit(run, points, {"label": 1}, {"label": 0}, target_scale=4.0, **options)
    assert np.all(np.abs(other - points).max(1) > 1e-3)
    with pytest.raises(ValueError, match="strength"):
        edit(run, points, {"label": 1}, {"label": 0}, strength=1.5)
    with pytest.raises(ValueError, match=r"image has shape \(4, 3\)"):
        edit(run, np.zeros((4, 3), np.float32), {"label": 1}, {"label": 0})


def test_the_ends_of_a_way_are_the_seeds_own_samples(run):
    """Fails if the noise is not that which `Run.sample` draws."""
    options = {"solver": "DDIM", "steps": 4, "guidance_scale": 1.0}
    way = interpolate(run, 3, 7, 5, {"label": 1}, **options)
    assert way.shape == (5, 2)
    for place, seed in ((0, 3), (-1, 7)):
        one = run.sample(1, {"label": 1}, seed=seed, **options)[0]
        np.testing.assert_allclose(way[place], one, atol=1e-4)
    with pytest.raises(ValueError, match="num=1: at least 2"):
        interpolate(run, 0, 1, 1)
