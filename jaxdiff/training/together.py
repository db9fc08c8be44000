"""Runs that differ in numbers only, trained at once: one program, mapped over them."""

import dataclasses
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import grain
import jax
import numpy as np

from jaxdiff.training.loop import Clock, NonFiniteError, Plan, count_step, evaluate, window_of
from jaxdiff.training.metrics import Meter, MetricsLog, Progress
from jaxdiff.training.numbers import differing
from jaxdiff.training.signals import stop_signal
from jaxdiff.training.state import TrainState
from jaxdiff.training.step import Batch, Numbers, Recipe, make_step
from jaxdiff.trees import stacked

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """The recipes of runs whose steps are one program.

    Arguments of the step are keys, learning rates, and the floats in which the recipes differ.

    Raises:
        ValueError: the recipes differ in more than numbers.
    """

    recipes: Sequence[Recipe]

    def __post_init__(self):
        arguments = differing([each.floats for each in self.recipes])
        recipes = [dataclasses.replace(each, arguments=arguments) for each in self.recipes]
        object.__setattr__(self, "recipes", recipes)

    def numbers(self, step: int) -> Numbers:
        """Returns the numbers of a step, [runs, ...]."""
        each = [recipe.numbers(step) for recipe in self.recipes]
        rates: Any = {name: np.stack([n.rates[name] for n in each]) for name in each[0].rates}
        floats = lambda path: np.asarray([n.values[path] for n in each], np.float32)
        values = {path: floats(path) for path in each[0].values}
        return Numbers(np.stack([n.key for n in each]), rates, values)

    def step(
        self, states: TrainState, batches: Batch, numbers: Numbers
    ) -> tuple[TrainState, dict[str, Any]]:
        """Takes one step of all runs; all arrays have a first axis for them."""
        return jax.vmap(make_step(self.recipes[0]))(states, batches, numbers)


@jax.jit
def one_of(tree: Any, index: Any) -> Any:
    """Returns one of the trees that were stacked."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def train(
    plans: Sequence[Plan],
    group: Group,
    states: Sequence[TrainState],
    data: Sequence[grain.DatasetIterator],
    meters: Sequence[Meter],
) -> dict[int, NonFiniteError]:
    """Trains all runs from the same step to the last, on one device; see `loop.train`.

    Each run reads its own data and writes into its own folder, as it would alone. A run that stops
    being finite is left behind with its last checkpoint, and the others go on.

    Returns:
        The errors of the runs that stopped being finite, by their index.

    Raises:
        ValueError: the runs are at different steps.
    """
    begins = {int(state.step) for state in states}
    if len(begins) > 1:
        raise ValueError(f"the runs are at steps {sorted(begins)}; together they begin at one")
    step, cadence = begins.pop(), plans[0].cadence
    with ExitStack() as opened:
        logs = [
            opened.enter_context(closing(MetricsLog(p.workdir, step, p.writers, p.config)))
            for p in plans
        ]
        stop = opened.enter_context(stop_signal())
        runs = _Runs(plans, group, states, data, meters, logs)
        if step < cadence.steps:
            runs.compile(step)
        progress, clock = Progress(step, cadence.steps), Clock(step)
        while step < cadence.steps:
            runs.take(step)
            step += 1
            runs.read(keep=1)
            progress.advance()
            stopped = stop.requested
            last = step == cadence.steps or stopped
            if step % cadence.log_every == 0 or step == cadence.steps:
                progress.report(runs.log(step, clock.rate(step)))
            if last or step % cadence.checkpoint_every == 0:
                runs.save(step)
            due = cadence.evaluate_every and step % cadence.evaluate_every == 0
            if (due or step == cadence.steps) and not stopped:
                with clock.stopped():
                    runs.evaluate(step)
            if last or not runs.going():
                break
            runs.fetch()
        for plan in plans:
            plan.checkpoints.wait()
        progress.close()
    return runs.failed


@dataclass
class _Runs:
    """The runs in training: their stacked state, the batch that is next, what is not yet read."""

    plans: Sequence[Plan]
    group: Group
    states: Sequence[TrainState]
    data: Sequence[grain.DatasetIterator]
    meters: Sequence[Meter]
    logs: Sequence[MetricsLog]
    failed: dict[int, NonFiniteError] = field(default_factory=dict)

    def __post_init__(self):
        self._state = stacked(self.states)
        self._unread: list[tuple[int, Any, Sequence[Any]]] = []

    def going(self) -> list[int]:
        """Returns the runs that are finite."""
        return [i for i in range(len(self.plans)) if i not in self.failed]

    def fetch(self) -> None:
        """Reads the next batch of each run."""
        batches = [next(each) for each in self.data]
        fields = (*self.plans[0].fields, "position")
        trees = [{name: batch[name] for name in fields} for batch in batches]
        self._records = [batch.get("record") for batch in batches]
        self._batch = jax.tree.map(lambda *leaves: np.stack(leaves), *trees)

    def compile(self, step: int) -> None:
        """Compiles the step, and logs how long it took."""
        self.fetch()
        start = time.perf_counter()
        lowered = jax.jit(self.group.step, donate_argnums=0).lower(*self._arguments(step))
        self._step = lowered.compile()
        seconds = time.perf_counter() - start
        logger.info("compiled the step of %d runs in %.1f s", len(self.plans), seconds)
        for log in self.logs:
            log.write(step, {"compile_seconds": seconds, "together": len(self.plans)})

    def take(self, step: int) -> None:
        """Takes a step of all runs."""
        self._state, metrics = self._step(*self._arguments(step))
        self._unread.append((step, metrics, self._records))

    def read(self, keep: int = 0) -> None:
        """Counts the metrics of the steps but the last `keep`."""
        while len(self._unread) > keep:
            step, metrics, records = self._unread.pop(0)
            metrics = jax.device_get(metrics)
            for i in self.going():
                mine = {name: value[i] for name, value in metrics.items()}
                folder = self.plans[i].workdir
                try:
                    count_step(
                        self.meters[i], step, mine, records[i], self.states[i], folder, main=True
                    )
                except NonFiniteError as error:
                    self.failed[i] = error
                    logger.warning("%s: %s", folder.name, error)

    def log(self, step: int, rate: float) -> dict[str, Any]:
        """Writes a line of metrics of each run; returns the last one's."""
        self.read()
        values: dict[str, Any] = {}
        for i in self.going():
            values = window_of(self.meters[i], self.group.recipes[i], step, rate)
            self.logs[i].write(step, values)
        return values

    def save(self, step: int) -> None:
        """Begins to write a checkpoint of each run."""
        self.read()
        for i in self.going():
            plan, mine = self.plans[i], one_of(self._state, i)
            plan.checkpoints.save(mine, self.data[i], self.meters[i].state(), plan.config)

    def evaluate(self, step: int) -> None:
        """Runs the evaluators of each run."""
        for i in self.going():
            evaluate(self.plans[i], one_of(self._state, i), self.logs[i], step)

    def _arguments(self, step: int) -> tuple[Any, ...]:
        return self._state, self._batch, self.group.numbers(step)
