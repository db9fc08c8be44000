"""The training loop: steps, logs, checkpoints, evaluations, and clean stops."""

import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np

from jaxdiff.files import write_json
from jaxdiff.training.checkpoint import Checkpoints
from jaxdiff.training.metrics import Meter, MetricsLog, NoMetricsLog, Progress
from jaxdiff.training.runner import Runner
from jaxdiff.training.signals import Agreement, stop_signal
from jaxdiff.training.state import TrainState
from jaxdiff.training.writers import Writer
from jaxdiff.trees import leaf_names
from jaxdiff.weights.stored import reason

logger = logging.getLogger(__name__)

Evaluate = Callable[[TrainState], Iterable[tuple[str, Any]]]
"""Yields the numbers and pictures of one evaluator."""


class NonFiniteError(RuntimeError):
    """Loss, gradients or update stopped being finite; the state before that step is kept."""


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
class Plan:
    """The loop's surroundings: where to write, how often, which evaluations.

    `fields` are the batch's fields that go to the devices, `evaluations` the evaluators by name,
    `writers` get the metrics beside metrics.jsonl.
    """

    workdir: Path
    cadence: Cadence
    checkpoints: Checkpoints
    config: Mapping[str, Any]
    fields: Sequence[str]
    evaluations: Mapping[str, Evaluate] = field(default_factory=dict)
    writers: Sequence[Writer] = ()


def train(
    plan: Plan, runner: Runner, state: TrainState, data: grain.DatasetIterator, meter: Meter
) -> TrainState:
    """Trains from the state's step to the last and returns the last state.

    SIGTERM and Ctrl-C, in any of the processes, end all of them after the same step, with a
    checkpoint. The host reads each step's numbers while the next one runs, so that the devices
    never wait for it. A checkpoint is written before the evaluation of the same step, and an
    evaluator that fails is a warning, with its traceback in a file. After the last step all
    evaluators run.

    Raises:
        NonFiniteError: after writing nonfinite.json: the step, the loss, the batch's records and
            the parameters whose gradients are not finite.
    """
    step, cadence = int(state.step), plan.cadence
    main = runner.devices.is_main
    unread: list[tuple[int, Any, Any]] = []

    def read_metrics(keep=0):
        while len(unread) > keep:
            _count(meter, *unread.pop(0), state, plan.workdir, main)

    def placed(batch):
        return runner.devices.put({name: batch[name] for name in (*plan.fields, "position")})

    log = MetricsLog if main else NoMetricsLog
    opened = log(plan.workdir, step, plan.writers, plan.config)
    with closing(opened) as writer, stop_signal() as stop:
        stopping = Agreement(runner.devices, stop)
        batch: Any = next(data) if step < cadence.steps else {}
        if batch:
            seconds, cached = runner.compile(state, placed(batch))
            origin = ", from the cache" if cached else ""
            logger.info("compiled the training step in %.1f s%s", seconds, origin)
            writer.write(step, {"compile_seconds": seconds, "compiled_from_cache": cached})
        progress, clock = Progress(step, cadence.steps, shown=main), _Clock(step)
        while step < cadence.steps:
            state, metrics = runner.step(state, placed(batch), step)
            unread.append((step, metrics, batch.get("record")))
            step += 1
            read_metrics(keep=1)
            progress.advance()
            stopped = stopping()
            last = step == cadence.steps or stopped
            if step % cadence.log_every == 0 or step == cadence.steps:
                read_metrics()
                values = meter.take()
                for name, rate in runner.recipe.numbers(step - 1).rates.items():
                    suffix = f"_{name}" if name else ""
                    values[f"learning_rate{suffix}"] = float(rate)
                values["images_per_second"] = clock.rate(step) * runner.recipe.batch_size
                writer.write(step, values)
                progress.report(values)
            if last or step % cadence.checkpoint_every == 0:
                read_metrics()
                plan.checkpoints.save(state, data, meter.state(), plan.config)
            due = cadence.evaluate_every and step % cadence.evaluate_every == 0
            if (due or step == cadence.steps) and not stopped:
                with clock.stopped():
                    _evaluate(plan, state, writer, step)
            if last:
                break
            batch = next(data)
        plan.checkpoints.wait()
        progress.close()
    if step < cadence.steps:
        logger.info("stopped at step %d, with a checkpoint; the same command goes on", step)
    return state


def _count(meter, step, metrics, records, state, workdir, main):
    metrics = jax.tree.map(_local, dict(metrics))
    good, finite = metrics.pop("good"), metrics.pop("finite_gradients")
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
    if main:
        write_json(workdir / "nonfinite.json", report)
    bad = "the loss" if not np.isfinite(metrics["loss"]) else "the update, not its gradient,"
    bad = f"the gradient of {names[0]} (and {len(names) - 1} more)" if names else bad
    raise NonFiniteError(
        f"step {step}: {bad} is not finite (loss {report['loss']}); the batch's records and all "
        f"parameters' names are in {workdir / 'nonfinite.json'}; the last checkpoint is kept"
    )


def _local(array):
    """A replicated array as NumPy's, also where other processes hold copies of it."""
    return np.asarray(array.addressable_data(0) if isinstance(array, jax.Array) else array)


def _evaluate(plan, state, writer, step):
    numbers = {}
    for name, evaluate in plan.evaluations.items():
        try:
            for key, value in evaluate(state):
                if isinstance(value, np.ndarray) and value.ndim == 3:
                    writer.picture(step, key, value)
                else:
                    numbers[key] = value
        except Exception as error:  # a picture that fails must not end a training
            file = plan.workdir / f"failed_{name}_{step:08d}.txt"
            file.write_text(traceback.format_exc())
            why = reason(error)
            logger.warning("%s failed at step %d (%s); see %s", name, step, why, file)
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
