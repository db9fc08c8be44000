"""A run's folder: whose it is, and what stays there when something fails."""

import json
import logging
import os
import shutil
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment
from jaxdiff.runs.run import Run
from jaxdiff.runs.workdir import check_workdir, locked, open_workdir
from jaxdiff.tasks.sampling_options import Options, check_finite
from jaxdiff.training.loop import NonFiniteError
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import points_config


@dataclass(frozen=True)
class Broken:
    """An evaluator that fails after its first number."""

    folder: Any

    def run(self, weights, step):
        yield "before", 1.0
        raise RuntimeError("a picture that cannot be made")


@dataclass(frozen=True)
class Counting:
    """An evaluator that works."""

    folder: Any

    def run(self, weights, step):
        yield "count", step


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 4 steps, one of whose evaluators fails."""
    config = points_config()
    config.train.steps = config.train.log_every = 4
    config.evaluation.evaluators = (f"{__name__}:Broken", f"{__name__}:Counting", "HeldOutLoss")
    workdir = tmp_path_factory.mktemp("trained")
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:1])))
    return workdir, Run.of(experiment, experiment.train(workdir))


def test_an_evaluator_that_fails_does_not_end_the_training(trained):
    """Also after the last step alone; fails if a later evaluator is lost, or the traceback."""
    workdir, _ = trained
    assert (workdir / "checkpoints" / "4").is_dir()
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["evaluation"].items() >= {"before": 1.0, "count": 4}.items()
    traceback = (workdir / "failed_Broken_00000004.txt").read_text()
    assert "a picture that cannot be made" in traceback


def test_the_held_out_loss_is_of_other_examples_and_of_the_same_noise(trained):
    """Fails if the training split is read, or times and noise are drawn anew."""
    workdir, run = trained
    found = run.evaluate("HeldOutLoss")["held_out_loss"]
    last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert found == pytest.approx(last["evaluation"]["held_out_loss"], rel=1e-3)
    assert found == run.evaluate("HeldOutLoss")["held_out_loss"]
    on_training = replace(
        run.experiment.evaluator.held_out, batches=lambda: run.batches(shuffle=False)
    )
    assert on_training(run.weights, 1000, run.step) != found


def test_a_run_that_is_older_than_a_field_has_its_default(trained, tmp_path):
    """Fails if a new field of the config makes all earlier runs unreadable."""
    workdir, run = trained
    old = shutil.copytree(workdir, tmp_path / "old")
    config = json.loads((old / "config.json").read_text())
    del config["train"]["writers"], config["accumulate"]
    (old / "config.json").write_text(json.dumps(config))
    read = jaxdiff.load(old, trust=["tests"]).config
    assert (read.train.writers, read.accumulate) == (run.config.train.writers, 1)
    assert check_workdir(old, run.config) == []


def test_a_run_shows_its_parts_and_its_samples_in_a_notebook(trained):
    """Fails if a part or the folder is missing."""
    workdir, run = trained
    table = jaxdiff.load(workdir, trust=["tests"])._repr_html_()
    assert all(
        part in table for part in (str(workdir), "two_moons", "MLP", "Denoising", "network ")
    )
    assert run.show(40, guidance_scale=1.0).kind == "png"


def test_samples_that_are_not_finite_are_an_error(trained):
    """Fails if NaN is written as a picture: with weights of NaN."""
    _, run = trained
    spoilt = jax.tree.map(lambda a: a * np.nan, run.weights)
    message = r"3 of 3 samples are not finite, the first at index 0, with solver='DDIM', steps=4"
    with pytest.raises(NonFiniteError, match=message):
        run.experiment.sampler(spoilt, 3, {"label": 1})
    samples = np.zeros((4, 2))
    samples[2, 1] = np.inf
    with pytest.raises(NonFiniteError, match=r"1 of 4 samples .* at index 2"):
        check_finite(samples, Options())


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    """The second process; fails if the lock outlives its owner."""

    def attempt():
        child = os.fork()
        if not child:
            try:
                with locked(tmp_path):
                    os._exit(0)
            except ValueError as error:
                os._exit(7 if f"process {os.getppid()} on " in str(error) else 8)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with locked(tmp_path):
        assert attempt() == 7
    assert attempt() == 0
    with locked(tmp_path):
        pass


def test_a_config_can_be_corrected_until_there_is_a_checkpoint(tmp_path, caplog):
    """Fails if a typo in the first launch is refused for ever, or a run's config can change."""
    config = points_config()
    check_workdir(tmp_path, config)
    open_workdir(tmp_path, config)
    config.batch_size = 8
    with caplog.at_level(logging.INFO, logger="jaxdiff"):
        check_workdir(tmp_path, config)
    assert "no checkpoint yet" in caplog.text
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    with pytest.raises(ValueError, match="batch_size: 16 -> 8"):
        check_workdir(tmp_path, config)


def test_learning_rates_may_change_between_launches_and_are_told(tmp_path):
    """Fails if a new rate is refused or not told, or another option of the optimizer is not."""
    config = points_config()
    config.optimizer.schedule = "cosine(steps=4)"
    open_workdir(tmp_path, config)
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    config.optimizer.learning_rate = 5e-4
    config.optimizer.schedule = "cosine(warmup_steps=1)"
    config.optimizers = {"network": {"learning_rate": 0.1}}
    config.train.log_every = 7
    found = check_workdir(tmp_path, config)
    assert any(line.endswith("-> 0.0005") and "optimizer.learning_rate" in line for line in found)
    assert "optimizer.schedule: 'cosine(steps=4)' -> 'cosine(warmup_steps=1)'" in found
    assert any(
        line.startswith("optimizers.network.learning_rate: 'absent' -> 0.1") for line in found
    )
    assert any(line.startswith("train.log_every: ") for line in found)
    config.optimizer.clip_norm = 3.0
    with pytest.raises(ValueError, match=r"optimizer\.clip_norm: .* -> 3\.0"):
        check_workdir(tmp_path, config)


def test_a_split_that_there_is_not_is_found_before_training(tmp_path):
    """Fails if only the first evaluation finds it, or a run without evaluations is refused."""
    config = points_config()
    config.evaluation.split = "tset"
    config.evaluation.evaluators = ("HeldOutLoss",)
    config.train.evaluate_every = 1
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:1])))
    with pytest.raises(ValueError, match=r"evaluation\.split='tset': .*known: train, test"):
        experiment.train(tmp_path)
    assert not (tmp_path / "config.json").exists()
