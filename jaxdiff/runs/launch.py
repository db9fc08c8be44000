"""The launch of a training: checks, what the folder is given, a state, and the loop."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from jaxdiff import config as configs
from jaxdiff.caches import use_compilation_cache
from jaxdiff.config.build import build
from jaxdiff.cost.flops import flops
from jaxdiff.cost.hardware import chip_of
from jaxdiff.evaluation import evaluators
from jaxdiff.files import AnyPath, in_bucket
from jaxdiff.runs.cached import training_batches
from jaxdiff.runs.workdir import (
    check_workdir,
    has_begun,
    locked,
    open_workdir,
)
from jaxdiff.training import loop, writers
from jaxdiff.training.checkpoint import Checkpoints
from jaxdiff.training.metrics import Meter
from jaxdiff.training.optimizer import mismatches
from jaxdiff.training.state import TrainState
from jaxdiff.training.step import make_step
from jaxdiff.training.watch import window
from jaxdiff.trees import size_of
from jaxdiff.weights.stored import CHECKPOINTS
from jaxdiff.weights.table import record

if TYPE_CHECKING:
    from jaxdiff.runs.experiment import Experiment

logger = logging.getLogger(__name__)


def launch(experiment: "Experiment", workdir: AnyPath, until: int | None = None) -> TrainState:
    """Trains an experiment in a folder; see `Experiment.train`."""
    use_compilation_cache()
    experiment.runner.check()
    window(experiment.config.profile)
    experiment.table.require()
    if experiment.config.profile and in_bucket(workdir):
        raise ValueError(
            f"profile: it is written to a disk, and workdir={str(workdir)!r} is a bucket"
        )
    for line in check_workdir(workdir, experiment.config):
        logger.info("changed since the last launch: %s", line)
    with locked(workdir) if experiment.devices.is_main else nullcontext():
        return _train(experiment, workdir, until)


def _train(experiment: "Experiment", workdir: AnyPath, until: int | None) -> TrainState:
    begun = begin(experiment, workdir)
    logger.info("%s", _described(experiment, begun.state, workdir))
    plan = plan_of(experiment, begun, workdir, until)
    try:
        return loop.train(plan, experiment.runner, begun.state, begun.data, begun.meter)
    finally:
        begun.close()


class Begun(NamedTuple):
    """A run that is ready to train: its state, its data at their place, its meter."""

    state: TrainState
    data: Any
    meter: Meter
    checkpoints: Checkpoints

    def close(self) -> None:
        """Waits for the checkpoints, and lets go of the data."""
        self.checkpoints.close()
        self.data.close()


def begin(
    experiment: "Experiment", workdir: AnyPath, init: Callable[[], TrainState] | None = None
) -> Begun:
    """Writes what the folder is given, and restores the newest checkpoint.

    `init` makes the state of a run without one, by default `experiment.init`.
    """
    config, devices = experiment.config, experiment.devices
    data = training_batches(experiment)
    _check_buckets(experiment)
    if config.train.evaluate_every:
        _check_split(experiment)
    prints = experiment.table.fingerprints(workdir if has_begun(workdir) else None)
    devices.wait("read")
    if devices.is_main:
        open_workdir(workdir, config)
        record(prints, workdir)
        if notice := getattr(experiment.source(), "attribution", ""):
            (workdir / "attribution.txt").write_text(f"{notice}\n", encoding="utf-8")
    devices.wait("workdir")
    checkpoints = Checkpoints(workdir / CHECKPOINTS, config.train.keep_checkpoints)
    restored = checkpoints.restore(experiment.abstract_state(), data)
    if restored is None:
        return Begun((init or experiment.init)(), data, Meter(), checkpoints)
    state = restored[0].replace(frozen=experiment.load_frozen())
    logger.info("resuming at step %d", int(state.step))
    return Begun(state, data, Meter(restored[1]), checkpoints)


def plan_of(
    experiment: "Experiment", begun: Begun, workdir: AnyPath, until: int | None = None
) -> loop.Plan:
    """Returns the plan of a run for the loop; warns of schedules of another length."""
    config = experiment.config
    schedules = config.optimizer.to_dict(), config.optimizers.to_dict()
    for line in mismatches(*schedules, config.train.steps):
        logger.warning("%s", line)
    return loop.Plan(
        workdir=workdir,
        cadence=loop.Cadence(
            steps=min(config.train.steps, until or config.train.steps),
            log_every=config.train.log_every,
            checkpoint_every=config.train.checkpoint_every,
            evaluate_every=config.train.evaluate_every,
        ),
        checkpoints=begun.checkpoints,
        config=configs.as_dict(config),
        fields=experiment.task.fields,
        evaluations=_evaluations(experiment, workdir / "samples"),
        writers=[build(writers, spec) for spec in config.train.writers],
        profiled=window(config.profile),
        seconds_at_peak=seconds_at_peak(experiment),
    )


def seconds_at_peak(experiment: "Experiment") -> float | None:
    """Returns the seconds of a step's arithmetic at the published peak of all chips.

    None on devices whose peak is not known; there nothing is counted.
    """
    devices, recipe = experiment.devices, experiment.recipe
    chip = chip_of(devices.mesh.devices.flat[0].device_kind)
    if chip is None:
        return None
    batch = experiment.task.example(recipe.batch_size)
    with devices.algorithms():
        counted = flops(make_step(recipe), experiment.abstract_state(), batch, recipe.numbers(0))
    return counted / devices.count / chip.flops


def _described(experiment: "Experiment", state: TrainState, workdir: AnyPath) -> str:
    """Returns a line: what is trained, its size, on which devices, into which folder."""
    sizes = {name: size_of(tree) for name, tree in state.params.items()}
    parameters = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size)
    devices = list(experiment.devices.mesh.devices.flat)
    return (
        f"{type(experiment.task).__name__} on {experiment.config.data.name}: parameters "
        f"{parameters}; {len(devices)} of {devices[0].device_kind} "
        f"({experiment.config.parallel}); writes to {workdir}; compiling the training step"
    )


def _check_buckets(experiment: "Experiment") -> None:
    """Raises ValueError if the network or the codec does not take the shape of a bucket."""
    recipe, state = experiment.recipe, experiment.abstract_state()
    for bucket in getattr(experiment.source(), "buckets", ())[1:]:
        example = recipe.task.example(recipe.batch_size)
        x = jax.ShapeDtypeStruct((recipe.batch_size, *bucket.shape), example["x"].dtype)
        try:
            jax.eval_shape(make_step(recipe), state, {**example, "x": x}, recipe.numbers(0))
        except ValueError as error:
            raise ValueError(f"data: the bucket of shape {bucket.shape}: {error}") from error


def _check_split(experiment: "Experiment") -> None:
    """Raises ValueError if evaluators compare with a split that the data do not have."""
    section = experiment.config.evaluation
    chosen = experiment.evaluator.chosen(Path()).values()
    held_out = any(isinstance(each, evaluators.HeldOutLoss) for each in chosen)
    compares = lambda each: hasattr(each, "reference") or hasattr(each, "held_out")
    if not held_out and not any(map(compares, chosen)):
        return
    try:
        experiment.source(section.split)
    except ValueError as error:
        raise ValueError(
            f"evaluation.split={section.split!r}: {error}; or leave out of"
            " evaluation.evaluators what compares with it"
        ) from error


def _evaluations(experiment: "Experiment", folder: AnyPath) -> Mapping[str, loop.Evaluate]:
    # All processes draw the samples, the first one keeps the pictures.
    if not experiment.devices.is_main:
        folder = Path(tempfile.mkdtemp())

    def evaluation(evaluator):
        return lambda state: evaluator.run(experiment.average(state), int(state.step))

    return {name: evaluation(each) for name, each in experiment.evaluator.chosen(folder).items()}
