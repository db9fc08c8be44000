"""The training loop: steps, logs, checkpoints, evaluations, and clean stops."""

import logging
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grain
import jax
import numpy as np

from jaxdiff.files import AnyPath, write_json
from jaxdiff.training.checkpoint import Checkpoints
from jaxdiff.training.metrics import Meter, MetricsLog, NoMetricsLog, Progress
from jaxdiff.training.runner import Runner
from jaxdiff.training.signals import Agreement, stop_signal
from jaxdiff.training.state import TrainState
from jaxdiff.training.step import Recipe
from jaxdiff.training.watch import Watch
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
    `writers` get the metrics beside metrics.jsonl. `profiled` and `seconds_at_peak` are those of
    `Watch`.
    """

    workdir: AnyPath
    cadence: Cadence
    checkpoints: Checkpoints
    config: Mapping[str, Any]
    fields: Sequence[str]
    evaluations: Mapping[str, Evaluate] = field(default_factory=dict)
    writers: Sequence[Writer] = ()
    profiled: range = range(0)
    seconds_at_peak: float | None = None


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
            count_step(meter, *unread.pop(0), state, plan.workdir, main)

    def placed(batch):
        return runner.devices.put({name: batch[name] for name in (*plan.fields, "position")})

    opened = (MetricsLog if main else NoMetricsLog)(plan.workdir, step, plan.writers, plan.config)
    with closing(opened) as writer, stop_signal() as stop:
        stopping = Agreement(runner.devices, stop)
        batch: Any = next(data) if step < cadence.steps else {}
        if batch:
            _compile(runner, state, placed(batch), writer)
        progress, clock = Progress(step, cadence.steps, shown=main), Clock(step)
        watch = Watch(plan.workdir, plan.profiled if main else range(0), plan.seconds_at_peak)
        logged = step
        while step < cadence.steps:
            watch.before(step, state)
            state, metrics = runner.step(state, placed(batch), step)
            unread.append((step, metrics, batch.get("record")))
            step += 1
            read_metrics(keep=1)
            progress.advance()
            stopped = stopping()
            last = step == cadence.steps or stopped
            if step % cadence.log_every == 0 or step == cadence.steps:
                read_metrics()
                steps_per_second = clock.rate(step)
                values = window_of(meter, runner.recipe, step, steps_per_second)
                values |= watch.figures(steps_per_second, step - logged)
                logged = step
                writer.write(step, values)
                progress.report(values)
            if last or step % cadence.checkpoint_every == 0:
                read_metrics()
                plan.checkpoints.save(state, data, meter.state(), plan.config)
            due = cadence.evaluate_every and step % cadence.evaluate_every == 0
            if (due or step == cadence.steps) and not stopped:
                with clock.stopped():
                    evaluate(plan, state, writer, step)
            if last:
                break
            with watch.waiting():
                batch = next(data)
        watch.close(state)
        plan.checkpoints.wait()
        progress.close()
    if step < cadence.steps:
        logger.info("stopped at step %d, with a checkpoint; the same command goes on", step)
    return state


def _compile(runner: Runner, state: TrainState, batch: Any, writer: Any) -> None:
    seconds, cached = runner.compile(state, batch)
    origin = ", from the cache" if cached else ""
    logger.info("compiled the training step in %.1f s%s", seconds, origin)
    found = {"compile_seconds": seconds, "compiled_from_cache": cached}
    writer.write(int(state.step), found)


def window_of(meter: Meter, recipe: Recipe, step: int, steps_per_second: float) -> dict[str, Any]:
    """Returns the means since the last window, and the rates of the last step before `step`."""
    values = meter.take()
    for name, rate in recipe.numbers(step - 1).rates.items():
        values[f"learning_rate_{name}" if name else "learning_rate"] = float(rate)
    values["images_per_second"] = steps_per_second * recipe.batch_size
    return values


def count_step(
    meter: Meter,
    step: int,
    metrics: Any,
    records: Any,
    state: TrainState,
    workdir: AnyPath,
    main: bool,
) -> None:
    """Adds a step's metrics to the meter.

    Raises:
        NonFiniteError: the step was not finite; nonfinite.json says where.
    """
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


def evaluate(plan: Plan, state: TrainState, writer: Any, step: int) -> None:
    """Runs all evaluators; one that fails is a warning, with its traceback in a file."""
    numbers = {}
    for name, evaluation in plan.evaluations.items():
        try:
            for key, value in evaluation(state):
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


class Clock:
    """Steps a second since the last reading, pauses left out."""

    def __init__(self, step: int):
        """Starts at a step."""
        self._step, self._since = step, time.perf_counter()

    def rate(self, step: int) -> float:
        """Returns the steps a second since it was last asked."""
        now = time.perf_counter()
        rate = (step - self._step) / max(now - self._since, 1e-9)
        self._step, self._since = step, now
        return rate

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leaves the block out."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start
