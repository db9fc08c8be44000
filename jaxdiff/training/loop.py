"""The training loop: steps, logs, evaluations, checkpoints, and clean stops."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import numpy as np

from jaxdiff.files import write_json
from jaxdiff.training.checkpoint import Checkpoints
from jaxdiff.training.metrics import Meter, Progress, Writer
from jaxdiff.training.runner import Runner
from jaxdiff.training.signals import stop_signal
from jaxdiff.training.state import TrainState
from jaxdiff.weights.partition import leaf_names

logger = logging.getLogger(__name__)

Evaluate = Callable[[TrainState], Iterable[tuple[str, Any]]]


class NonFiniteError(RuntimeError):
    """Loss or gradients stopped being finite; the state before that step is kept."""


@dataclass(frozen=True)
class Cadence:
    """Numbers of optimizer steps: in all, and between logs, checkpoints and evaluations."""

    steps: int
    log_every: int = 100
    checkpoint_every: int = 1000
    evaluate_every: int = 0
    """0 for never."""

    def __post_init__(self):
        for name, least in [("steps", 1), ("log_every", 1), ("checkpoint_every", 1)]:
            if getattr(self, name) < least:
                raise ValueError(f"train.{name}={getattr(self, name)} is less than {least}")


@dataclass
class Run:
    """What the loop needs beside state and data: where to write, how often, what to evaluate."""

    workdir: Path
    cadence: Cadence
    checkpoints: Checkpoints
    config: Mapping[str, Any]
    fields: Sequence[str]
    """The batch's fields that go to the devices."""
    learning_rate: Callable[[int], Any]
    evaluate: Evaluate | None = None


def train(
    run: Run, runner: Runner, state: TrainState, data: grain.DatasetIterator, meter: Meter
) -> TrainState:
    """Trains from the state's step to the last and returns the last state.

    SIGTERM and Ctrl-C end it after the step in progress, with a checkpoint. The host reads each
    step's numbers while the next one runs, so that the devices never wait for it.

    Raises:
        NonFiniteError: after writing nonfinite.json: the step, the loss, the batch's records and
            the parameters whose gradients are not finite.
    """
    step, cadence = int(state.step), run.cadence
    unread: list[tuple[int, Any, Any]] = []

    def read_metrics(keep=0):
        while len(unread) > keep:
            _count(meter, *unread.pop(0), state, run.workdir)

    with closing(Writer(run.workdir, step)) as writer, stop_signal() as stop:
        batch = next(data) if step < cadence.steps else None
        if batch is not None:
            seconds = runner.compile(state, _placed(runner, batch, run.fields))
            logger.info("compiled the training step in %.1f s", seconds)
            writer.write(step, {"compile_seconds": seconds})
        progress, clock = Progress(step, cadence.steps), _Clock(step)
        while step < cadence.steps:
            state, metrics = runner.step(state, _placed(runner, batch, run.fields))
            unread.append((step, metrics, batch.get("record")))
            step += 1
            read_metrics(keep=1)
            progress.advance()
            last = step == cadence.steps or stop.requested
            if step % cadence.log_every == 0 or step == cadence.steps:
                read_metrics()
                values = meter.take()
                values["learning_rate"] = float(run.learning_rate(step - 1))
                values["images_per_second"] = clock.rate(step) * runner.recipe.batch_size
                writer.write(step, values)
                progress.report(values)
            due = cadence.evaluate_every and step % cadence.evaluate_every == 0
            if run.evaluate is not None and due and not stop.requested:
                with clock.stopped():
                    _evaluate(run.evaluate, state, writer, step)
            if last or step % cadence.checkpoint_every == 0:
                read_metrics()
                run.checkpoints.save(state, data, meter.state(), run.config)
            if last:
                break
            batch = next(data)
        run.checkpoints.wait()
        progress.close()
    if stop.requested:
        logger.info("stopped at step %d, with a checkpoint; the same command goes on", step)
    return state


def _placed(runner, batch, fields):
    return runner.place({name: batch[name] for name in fields})


def _count(meter, step, metrics, records, state, workdir):
    metrics = dict(metrics)
    good, finite = np.asarray(metrics.pop("good")), np.asarray(metrics.pop("finite_gradients"))
    if good:
        meter.add(metrics)
        return
    names = [n for n, f in zip(leaf_names(state.params), finite, strict=True) if not f]
    report = {
        "step": step,
        "loss": float(metrics["loss"]),
        "parameters": names,
        "records": None if records is None else np.asarray(records).tolist(),
    }
    write_json(workdir / "nonfinite.json", report)
    where = f"the gradient of {names[0]} (and {len(names) - 1} more)" if names else "the loss"
    raise NonFiniteError(
        f"step {step}: {where} is not finite (loss {report['loss']}); the batch's records and all "
        f"parameters' names are in {workdir / 'nonfinite.json'}; the last checkpoint is kept"
    )


def _evaluate(evaluate, state, writer, step):
    numbers = {}
    for name, value in evaluate(state):
        if isinstance(value, np.ndarray) and value.ndim == 3:
            writer.picture(step, name, value)
        else:
            numbers[name] = value
    if numbers:
        writer.write(step, {"evaluation": numbers})
        logger.info("step %d  %s", step, "  ".join(f"{k} {v}" for k, v in numbers.items()))


class _Clock:
    """Steps a second since the last reading, pauses left out."""

    def __init__(self, step):
        self._step, self._since = step, time.perf_counter()

    def rate(self, step):
        now = time.perf_counter()
        rate = (step - self._step) / max(now - self._since, 1e-9)
        self._step, self._since = step, now
        return rate

    @contextmanager
    def stopped(self):
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start
