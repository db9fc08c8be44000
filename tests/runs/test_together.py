"""Runs that differ in numbers: one program trains them at once, each as it would be alone."""

import json
import logging
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxdiff import Experiment
from jaxdiff.diffusion.time_sampling.base import independent
from jaxdiff.runs import together
from jaxdiff.runs.arguments import with_arguments
from jaxdiff.runs.compare import figures_of
from jaxdiff.runs.launchers import Here, Launch
from jaxdiff.training.numbers import differing, numbers_of, with_numbers
from jaxdiff.weights.devices import Devices, make_mesh
from jaxdiff.weights.stored import read_item
from tests.support.tiny import points_config


def launch_of(folder, **changes):
    config = points_config()
    config.train.steps, config.train.log_every, config.train.checkpoint_every = 6, 3, 3
    config.train.writers = ()
    with config.unlocked():
        config.update_from_flattened_dict(changes)
    return Launch(folder.name, folder, ConfigDict(config.to_dict()), ())


VARIATIONS = (
    {"seed": 1, "optimizer.learning_rate": 1e-2, "weighting": "MinSNR(gamma=5.0)"},
    {"seed": 2, "optimizer.learning_rate": 3e-3, "weighting": "MinSNR(gamma=1.5)"},
    {"seed": 2, "weighting": "MinSNR(gamma=5.0)", "ema": "Warmup(decay=0.5)"},
)


def average_of(launch, step=6):
    one = Devices(make_mesh(jax.devices()[:1]))
    abstract = Experiment(launch.config, one).abstract_state()
    return read_item(launch.workdir / "checkpoints", "ema", abstract.ema, step)[0]


def test_each_run_is_the_one_that_it_is_alone(tmp_path):
    """Fails if runs share keys, data, rates, gammas or averages, or if a stop loses one's place.

    One program for all: compiled once for the first three steps, once after the stop.
    """
    compiled = []

    def listen(event, seconds, **details):
        if event.endswith("backend_compile_duration") and "step" in details.get("fun_name", ""):
            compiled.append(details["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    many = [launch_of(tmp_path / f"many{i}", **v) for i, v in enumerate(VARIATIONS)]
    groups = together.grouped(many, 16)
    assert [len(group) for group in groups] == [3]
    together.Together()(many, until=3)
    assert [each.step() for each in many] == [3, 3, 3]
    assert len(compiled) == 1
    together.Together()(many)
    for i, variation in enumerate(VARIATIONS[:2]):
        alone = launch_of(tmp_path / f"alone{i}", **variation)
        Experiment(alone.config, Devices(make_mesh(jax.devices()[:1]))).train(alone.workdir)
        pairs = zip(*(jax.tree.leaves(average_of(x)) for x in (many[i], alone)), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5)
        lines = [
            [json.loads(line) for line in (each.workdir / "metrics.jsonl").open()]
            for each in (many[i], alone)
        ]
        losses = [{line["step"]: line["loss"] for line in ls if "loss" in line} for ls in lines]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert {each.error() for each in many} == {None}


def test_runs_of_other_programs_are_apart(tmp_path):
    """Fails if a run is trained with another's network, data or whole numbers."""
    changes = (
        {},
        {"seed": 4, "optimizer.schedule": "cosine(steps=6)"},
        {"batch_size": 8},
        {"weighting": "MinSNR(gamma=5.0)"},
        {"network.features": 8},
    )
    launches = [launch_of(tmp_path / str(i), **c) for i, c in enumerate(changes)]
    groups = [[each.name for each in group] for group in together.grouped(launches, 16)]
    assert groups == [["0", "1"], ["2"], ["3"], ["4"]]
    assert [len(g) for g in together.grouped(launches[:2] * 3, 4)] == [4, 2]


def test_numbers_are_found_and_replaced():
    """By their paths; fails if a network's are taken, or the part itself is changed."""
    config = points_config()
    config.weighting = "MinSNR(gamma=5.0)"
    one = Devices(make_mesh(jax.devices()[:1]))
    task = Experiment(config, one).task
    found = numbers_of(task)
    (path,) = (name for name in found if name.endswith("weighting/gamma"))
    assert path.startswith("objective/")
    assert not any("network" in name for name in found)
    other = with_numbers(task, {path: 2.0})
    assert numbers_of(other)[path] == 2.0
    assert numbers_of(task) == found
    assert differing([found, numbers_of(other)]) == (path,)


@dataclass(frozen=True)
class Picky:
    """Times of which a number decides how they are computed."""

    p: float = 0.5
    __call__ = independent

    def quantile(self, process, u):
        return u if self.p > 1 else u * u


def test_a_number_that_decides_the_program_trains_one_after_another(tmp_path, caplog, monkeypatch):
    """Fails if such runs fail, or if nothing says why they take longer."""
    given = []
    monkeypatch.setattr(together, "Here", lambda: lambda group, until: given.append(group))
    launches = [
        launch_of(tmp_path / str(i), time_sampling=f"{__name__}:Picky(p={p})")
        for i, p in enumerate((0.5, 1.5))
    ]
    with caplog.at_level(logging.WARNING):
        together.Together()(launches)
    assert "one after another, not together: 0, 1" in caplog.text
    assert given == [launches]


def test_one_after_another_they_compile_once(tmp_path):
    """Fails if a number is a constant of the step, or that of another run."""
    gammas = {"a": (5.0, 0.5), "b": (1.5, 0.9)}
    launches = with_arguments(
        [
            launch_of(
                tmp_path / name,
                batch_size=24,  # a program that no other test has compiled
                weighting=f"MinSNR(gamma={gamma})",
                ema=f"Warmup(decay={decay})",
            )
            for name, (gamma, decay) in gammas.items()
        ]
    )
    assert {each.arguments for each in launches} == {launches[0].arguments}
    assert [path.rsplit("/")[-1] for path in launches[0].arguments] == ["gamma", "decay"]
    assert f"--arguments={','.join(launches[0].arguments)}" in launches[0].command()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        Here()(launches)
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    assert [figures_of(each.workdir)["compiled_from_cache"] for each in launches] == [False, True]
    alone = replace(launches[1], workdir=tmp_path / "alone", arguments=())
    Here()([alone])
    pairs = zip(*(jax.tree.leaves(average_of(x)) for x in (launches[1], alone)), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5)


def test_runs_that_differ_in_more_have_no_arguments(tmp_path):
    """Fails if a run is told a number that is none of its own, or if one that fails ends all."""
    changes = ({"seed": 1}, {"weighting": "MinSNR(gamma=2.0)"}, {"weighting": "MinSNR(gamma=-2.0)"})
    launches = [launch_of(tmp_path / str(i), **c) for i, c in enumerate(changes)]
    assert [each.arguments for each in with_arguments(launches)] == [()] * 3
    with pytest.raises(ValueError, match="arguments='task/gamma' is no float; there are"):
        Experiment(launches[0].config, arguments=("task/gamma",))


def test_a_number_that_decides_the_program_stays_a_constant(tmp_path, caplog):
    """Fails if the run fails, or if nothing says why it compiles anew."""
    changes = [{"time_sampling": f"{__name__}:Picky(p={p})"} for p in (0.5, 1.5)]
    launches = [launch_of(tmp_path / str(i), **c) for i, c in enumerate(changes)]
    (path,) = with_arguments(launches)[0].arguments
    with caplog.at_level(logging.WARNING):
        assert Experiment(launches[0].config, arguments=(path,)).recipe.arguments == ()
    assert f"the step compiles anew for each of {path}: " in caplog.text
