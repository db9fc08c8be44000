"""Runs that are killed, stopped or poisoned, each in a process of its own."""

import json
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxdiff.runs.workdir import read_config
from tests.support.forked import ROOT, SECONDS, environment

# Runs train.py, but dies by SIGKILL at the moment that argv names.
KILLED = """
import os, signal, sys, time
sys.path.insert(0, "experiments")
moment, sys.argv = sys.argv[1], ["train.py", *sys.argv[2:]]
workdir = next(a.removeprefix("--workdir=") for a in sys.argv if a.startswith("--workdir="))
die = lambda: os.kill(os.getpid(), signal.SIGKILL)

if moment == "inside the write of checkpoint 20":
    def dying(rename):
        def wrapped(source, target, *rest, **options):
            if str(target).endswith("checkpoints/20"):
                die()
            return rename(source, target, *rest, **options)
        return wrapped
    os.rename, os.replace = dying(os.rename), dying(os.replace)
elif moment == "at step 14":
    from jaxdiff.training import runner
    step, count = runner.Runner.step, iter(range(1, 100))
    def counted(self, *arguments):
        if next(count) == 15:
            while not os.path.isdir(os.path.join(workdir, "checkpoints", "10")):
                time.sleep(0.05)
            die()
        return step(self, *arguments)
    runner.Runner.step = counted
import runpy
runpy.run_path("experiments/train.py", run_name="__main__")
"""

RECIPE = """
from tests.support.tiny import points_config as get_config
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def launch(scripts, recipe):
    """Trains in a forked process; `moment` says when it is to be killed."""
    killed = recipe.with_name("killed.py")
    killed.write_text(KILLED)

    def run(workdir, *flags, moment=None):
        script = ["experiments/train.py"] if moment is None else [killed, moment]
        return scripts(*script, f"--config={recipe}", f"--workdir={workdir}", *flags)

    return run


def start(recipe, workdir, *flags):
    """Starts the command that a user would."""
    return subprocess.Popen(
        [
            sys.executable,
            "experiments/train.py",
            f"--config={recipe}",
            f"--workdir={workdir}",
            *flags,
        ],
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )


def state_of(workdir):
    """Every array of the newest checkpoint, by Orbax alone."""
    newest = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    handler, folder = ocp.PyTreeCheckpointer(), workdir / "checkpoints" / str(newest)
    items = ("params", "ema", "opt_state", "progress")
    return newest, {name: handler.restore(folder / name) for name in items}


def metrics_of(workdir):
    """The lines of metrics.jsonl, but for what belongs to a launch: seconds, waits, the cache."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    of_launch = lambda name: any(word in name for word in ("second", "wait", "cache", "memory"))
    lines = [{k: v for k, v in line.items() if not of_launch(k)} for line in lines]
    return [line for line in lines if len(line) > 1]


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """Twenty steps without an interruption."""
    workdir = tmp_path_factory.mktemp("whole")
    process = start(recipe, workdir)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    return workdir


@pytest.mark.parametrize("moment", ["at step 14", "inside the write of checkpoint 20"])
def test_a_killed_run_resumes_bit_for_bit(whole, launch, moment, tmp_path):
    """10 + kill -9 + 10 = 20: fails if optimizer state, data position, keys or meters are lost."""
    code, _ = launch(tmp_path, moment=moment)
    assert code == -signal.SIGKILL
    assert not (tmp_path / "checkpoints" / "20").exists()
    code, errors = launch(tmp_path)
    assert code == 0, errors
    assert "resuming at step 10" in errors
    (step, expected), (other_step, found) = state_of(whole), state_of(tmp_path)
    assert step == other_step == 20
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)
    assert metrics_of(tmp_path) == metrics_of(whole)


def test_sigterm_saves_and_says_where(recipe, tmp_path):
    """Fails if the signal kills the process or if the step in progress is lost."""
    process = start(recipe, tmp_path, "--config.train.steps=100000")
    metrics, deadline = tmp_path / "metrics.jsonl", time.monotonic() + SECONDS
    while not (metrics.exists() and '"loss"' in metrics.read_text()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    step, _ = state_of(tmp_path)
    assert f"stopped at step {step}, with a checkpoint" in errors


def test_another_config_in_the_same_workdir_is_refused(whole, launch):
    """Names the field that differs; free sections such as `train` may."""
    code, errors = launch(whole, "--config.batch_size=8")
    assert code == 1
    assert "batch_size: 16 -> 8" in errors
    assert read_config(whole).batch_size == 16


def test_an_unknown_field_names_the_closest(launch, tmp_path):
    code, errors = launch(tmp_path, "--config.optimizer.learning_rat=0.5")
    assert code == 1
    assert "learning_rate" in errors
    assert "Traceback" not in errors


def test_gradients_that_are_not_finite_stop_the_run_and_are_named(launch, tmp_path):
    """A learning rate that blows up: the report has the step, the records and the parameters."""
    code, errors = launch(
        tmp_path, "--config.optimizer.learning_rate=1e30", "--config.optimizer.clip_norm=0."
    )
    assert code == 1, errors
    report = json.loads((tmp_path / "nonfinite.json").read_text())
    assert report["step"] >= 1
    assert len(report["records"]) == 16
    assert report["parameters"]
    assert report["parameters"][0] in errors
