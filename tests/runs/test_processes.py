"""Two processes on one machine: training, samples, checkpoints and resuming as in one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support.forked import ROOT, SECONDS, environment

pytestmark = pytest.mark.slow  # five processes are started one after another

SCRIPT = """
import sys
import jax
port, workdir = sys.argv[1:3]
index, count, steps = map(int, sys.argv[3:])
jax.config.update("jax_num_cpu_devices", 4 // count)
if count > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", count, index)
import numpy as np
import jaxdiff
from jaxdiff import Experiment
from tests.support.tiny import points_config
config = points_config()
config.train.update(steps=steps, log_every=2, checkpoint_every=4)
config.evaluation.evaluators = ("SampleGrid(points=8, columns=2)",)
config.train.evaluate_every = 4
experiment = Experiment(config)
state = experiment.train(workdir)
run = jaxdiff.load(workdir)
samples = run.sample(10, {"label": 1}, solver="DDPM", batch_size=4)
np.save(f"{workdir}/samples_{count}_{index}.npy", samples)
print("done", int(state.step), flush=True)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def launch(workdir, count, steps):
    """Starts `count` processes that share four devices."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "QUICK_COMPILATION": "1"}
    for name in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS"):
        environment.pop(name, None)
    arguments = lambda index: [str(free), str(workdir), str(index), str(count), str(steps)]
    free = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments(index)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(count)
    ]


def finish(processes):
    outputs = [process.communicate(timeout=SECONDS)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-3000:]
    return outputs


def losses(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").open())
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def one(folder):
    """Eight steps in one process."""
    finish(launch(folder / "one", 1, 8))
    return folder / "one"


def test_two_processes_train_sample_and_resume_as_one(one, folder):
    """4 + 4 = 8; fails if batches or keys belong to a process, or each writes its own lines."""
    workdir = folder / "two"
    for steps in (4, 8):
        outputs = finish(launch(workdir, 2, steps))
        assert all(f"done {steps}" in output for output in outputs)
    (steps, expected), (found_steps, found) = (zip(*losses(w), strict=True) for w in (one, workdir))
    assert found_steps == steps
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (workdir / "samples" / "step_00000008.png").exists()
    expected = np.load(one / "samples_1_0.npy")
    for index in range(2):
        found = np.load(workdir / f"samples_2_{index}.npy")
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_signal_to_one_process_stops_both_after_the_same_step(folder):
    """Fails if the other process waits for it, or no checkpoint is written."""
    workdir = folder / "stopped"
    processes = launch(workdir, 2, 100_000)
    deadline = time.monotonic() + SECONDS
    while not (workdir / "metrics.jsonl").exists() or not losses(workdir):
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGTERM)
    outputs = finish(processes)
    steps = {line for output in outputs for line in output.split("\n") if line.startswith("done")}
    assert len(steps) == 1
    step = int(steps.pop().split()[1])
    assert (workdir / "checkpoints" / str(step)).is_dir()


RECIPE = """
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
from tests.support.tiny import points_config
def get_config():
    config = points_config()
    config.train.update(steps=100_000, log_every=2)
    return config
"""


def test_a_dead_peer_ends_the_other_and_leaves_the_checkpoint(folder):
    """By the command that a user types; fails if the other process hangs, or shows a traceback."""
    recipe, workdir = folder / "recipe.py", folder / "dead"
    recipe.write_text(RECIPE)
    port = free_port()
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "experiments/train.py",
                f"--config={recipe}",
                f"--workdir={workdir}",
                "--distributed",
                f"--coordinator=localhost:{port}",
                "--num_processes=2",
                f"--process_id={index}",
            ],
            cwd=ROOT,
            env={**environment(), "JAX_NUM_CPU_DEVICES": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    deadline = time.monotonic() + SECONDS
    while not (workdir / "checkpoints" / "10").exists():
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < deadline
        time.sleep(0.2)
    processes[1].kill()
    output, _ = processes[0].communicate(timeout=SECONDS)
    assert processes[0].returncode != 0
    assert "process 0 of 2; if another process dies, this one ends too" in output
    assert "Traceback (most recent call last)" not in output
    assert (workdir / "checkpoints" / "10").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("coordinator='host0'", "coordinator='host0': give host and port, such as host0:8482"),
        ("", "give each process --coordinator=host0:port"),
        ("coordinator='localhost:1', num_processes=2, process_id=5", "process_id': 5"),
    ],
)
def test_processes_that_do_not_find_each_other_say_what_is_missing(arguments, message):
    """Fails if the flags and the port go unnamed."""
    code = f"from jaxdiff.runs.processes import join; join({arguments})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert message in done.stderr
