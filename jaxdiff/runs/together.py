"""Runs of a sweep that differ in numbers only, trained at once by one program."""

import functools
import logging
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import jax
from jax import lax

from jaxdiff.caches import use_compilation_cache
from jaxdiff.runs.arguments import program_of
from jaxdiff.runs.experiment import Experiment
from jaxdiff.runs.launch import begin, plan_of
from jaxdiff.runs.launchers import Here, Launch, with_errors
from jaxdiff.runs.workdir import check_workdir, locked
from jaxdiff.training import together
from jaxdiff.training.state import TrainState
from jaxdiff.weights.devices import Devices, make_mesh

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Together:
    """Trains runs that differ in numbers at once, at most so many; all others one after another.

    Numbers are seeds, learning rates and their schedules, and the floats of process, objective,
    weighting, time sampling and average. On one device; for models that leave it idle.
    """

    most: int = 16

    def __call__(self, launches: Sequence[Launch], until: int | None = None) -> None:
        """Trains each; an error of one is written into its folder."""
        for group in grouped(launches, self.most):
            if len(group) == 1 or not _trained(group, until):
                Here()(group, until)


def grouped(launches: Sequence[Launch], most: int) -> list[list[Launch]]:
    """Returns the runs in groups that one program may train, from the same step on."""
    groups: dict[str, list[list[Launch]]] = {}
    for each in launches:
        same = groups.setdefault(f"{each.step()} {program_of(each.config)}", [[]])
        if len(same[-1]) == most:
            same.append([])
        same[-1].append(each)
    return [group for same in groups.values() for group in same]


def _trained(launches: Sequence[Launch], until: int | None) -> bool:
    """Returns whether the runs were trained together; False, with the reason logged, if not."""
    use_compilation_cache()
    names = ", ".join(each.name for each in launches)
    devices = Devices(make_mesh(jax.devices()[:1]))
    try:
        experiments = [Experiment(each.config, devices) for each in launches]
        group = together.Group([each.recipe for each in experiments])
        if experiments[0].abstract_state().frozen:
            raise ValueError("they have frozen weights")
        if hasattr(experiments[0].source(), "buckets"):
            raise ValueError("their data have several shapes")
        _traced(experiments[0], group)
    except Exception as error:  # such as a number that decides which operations there are
        why = str(error).strip().splitlines()
        logger.warning("one after another, not together: %s (%s)", names, why[0] if why else error)
        return False
    logger.info("%d runs together: %s", len(launches), names)
    failed: dict[int, Exception] = {}

    def all_of_them() -> None:
        with ExitStack() as stack:
            for experiment, launch in zip(experiments, launches, strict=True):
                experiment.table.require()
                check_workdir(launch.workdir, experiment.config)
                stack.enter_context(locked(launch.workdir))
            states = _begun(experiments)
            begun = [
                stack.enter_context(closing(begin(e, launch.workdir, lambda i=i: states(i))))
                for i, (e, launch) in enumerate(zip(experiments, launches, strict=True))
            ]
            plans = [
                plan_of(e, each, launch.workdir, until)
                for e, each, launch in zip(experiments, begun, launches, strict=True)
            ]
            failed.update(
                together.train(
                    plans,
                    group,
                    [each.state for each in begun],
                    [each.data for each in begun],
                    [each.meter for each in begun],
                )
            )

    error = None
    try:
        all_of_them()
    except Exception as raised:  # it is every run's
        error = raised
    for index, launch in enumerate(launches):
        with_errors(launch, functools.partial(_raise, error or failed.get(index)))
    return True


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


def _traced(experiment: Experiment, group: together.Group) -> None:
    """Traces the step with its numbers as arguments, which costs a second and compiles nothing."""
    count, recipe = len(group.recipes), experiment.recipe
    several = lambda s: jax.ShapeDtypeStruct((count, *s.shape), s.dtype)
    state = jax.tree.map(several, experiment.abstract_state())
    batch = jax.tree.map(several, experiment.task.example(recipe.batch_size))
    with experiment.devices.algorithms():
        jax.eval_shape(group.step, state, batch, group.numbers(0))


def _begun(experiments: Sequence[Experiment]) -> Any:
    """Returns a function from a run's index to its first state; all are made by one program."""
    first = experiments[0]
    made: list[TrainState] = []

    def states() -> TrainState:
        keys = jax.numpy.stack([each._init_key for each in experiments])
        loaded = first.table.load(first.abstract_state().params, frozen=False)
        # One after another: a generator's numbers are others under `vmap`.
        make = lambda keys, loaded: lax.map(lambda key: first._create(key, loaded), keys)
        return jax.jit(make)(keys, loaded)

    def state(index: int) -> TrainState:
        if not made:
            made.append(states())
        return together.one_of(made[0], index)

    return state
