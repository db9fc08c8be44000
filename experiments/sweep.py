"""Trains the variations of a recipe; the same command again trains only what is missing.

python experiments/sweep.py --config=configs/digits.py --workdir=runs/rates \\
    --sweep optimizer.learning_rate=1e-3,3e-3 --sweep seed=0:3
python experiments/sweep.py --config=configs/toy_2d.py --workdir=runs/schedules --sweep schedules

A sweep is a field with its values, or the name of a generator `sweep_NAME` in the recipe; several
are combined by their product. Each run has a folder of its own, whose name says what differs. A run
that fails does not end the others; its error is in error.txt in its folder. sweep.json lists all.

Runs that differ in numbers only (seeds, learning rates, floats of losses and schedules) compile
their step once. With --launcher=together they are trained at once by one program, on one device;
others one after another.

With --halve, all runs train for a part of their steps, the better ones go on, and so on.
"""

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cli
import jax
from absl import flags

from jaxdiff.config.recipes import recipe_module
from jaxdiff.files import as_path, in_bucket, write_json
from jaxdiff.runs import launchers, sweeps
from jaxdiff.runs.arguments import with_arguments
from jaxdiff.runs.compare import figures_of
from jaxdiff.runs.launchers import Launch
from jaxdiff.runs.together import Together

cli.flag("config", cli.Text, None, "Recipe, such as configs/digits.py:edm.", required=True)
WORKDIR = cli.flag("workdir", cli.Text, None, "Folder of the sweep.", required=True)
SWEEP = flags.DEFINE_multi_string("sweep", [], "field=a,b, field=0:3, or a sweep of the recipe.")
LAUNCHER = cli.flag(
    "launcher",
    Literal["here", "together", "pool", "commands", "slurm", "xmanager"],
    "here",
    "How runs are launched.",
)
WORKERS = cli.flag("workers", cli.Size, 2, "Runs at a time in a pool.")
DEVICES = flags.DEFINE_list("devices", [], "GPUs of a pool's workers: 0,1,2,3.")
SLURM = cli.flag("slurm", cli.Text, None, "Options of submitit as a table: {'timeout_min': 60}.")
XMANAGER = cli.flag(
    "xmanager", cli.Text, None, "Options as a table: {'executor': 'Vertex', 'image': '...'}."
)
HALVE = cli.flag("halve", cli.Text, None, "Metric by which runs are dropped: loss.")
KEEP = cli.flag("keep", cli.Share, 0.5, "Share of the runs that each round keeps.")
ROUNDS = cli.flag("rounds", cli.Size, 3, "Rounds of --halve.")

logger = logging.getLogger("jaxdiff.sweep")


def main() -> None:
    """Launches what is missing, and lists all runs."""
    if LAUNCHER.value not in ("here", "together"):
        jax.config.update("jax_platforms", "cpu")  # accelerators are left to the runs
    launches = planned()
    launch = launcher()
    print(f"{len(launches)} runs, {sum(each.is_done() for each in launches)} of them done")
    if HALVE.value is None:
        launch([each for each in launches if not each.is_done()])
    else:
        halve(launch, launches)
    if LAUNCHER.value != "commands":
        report(launches)


def planned() -> list[Launch]:
    """Returns all runs of the sweep; a field that there is not is an error before any training."""
    module = recipe_module(cli.FLAGS.config)
    given = [
        sweeps.written(text) if "=" in text else sweeps.of_recipe(module, text)
        for text in SWEEP.value
    ]
    if not given:
        raise ValueError("sweep: give at least one, such as --sweep seed=0:3")
    found, root = [], as_path(WORKDIR.value)
    for name, variation in sweeps.named(list(sweeps.product(*given))).items():
        changes = sweeps.texts(variation)
        found.append(Launch(name, root / name, cli.config(changes), cli.config_flags(changes)))
    return with_arguments(found)


def launcher() -> Any:
    """Returns the launcher that the flags choose."""
    if LAUNCHER.value in ("pool", "slurm") and in_bucket(as_path(WORKDIR.value)):
        raise ValueError(f"launcher={LAUNCHER.value}: writes logs, and needs a workdir on a disk")
    match LAUNCHER.value:
        case "together":
            return Together()
        case "pool":
            return launchers.Pool(WORKERS.value, DEVICES.value)
        case "commands":
            return launchers.Commands()
        case "slurm":
            options = cli.spec(SLURM.value) or {}
            cluster = options.pop("cluster", "slurm")
            folder = Path(WORKDIR.value) / "slurm"
            return launchers.Slurm(folder, options, cluster, wait=cluster != "slurm")
        case "xmanager":
            return launchers.XManager(**(cli.spec(XMANAGER.value) or {}))
    return launchers.Here()


def halve(launch: Any, launches: Sequence[Launch]) -> None:
    """Trains in rounds, and drops runs after each (successive halving, Jamieson & Talwalkar 2016).

    The schedule of a run is that of its whole length, so a run that goes on is the run that it
    would have been without rounds. Runs without the metric are dropped first.
    """
    if LAUNCHER.value in ("commands", "slurm", "xmanager"):
        raise ValueError(f"halve: needs --launcher=here or pool, not {LAUNCHER.value}")
    going = list(launches)
    for number in range(ROUNDS.value):
        left = ROUNDS.value - 1 - number
        until = [max(math.ceil(each.config.train.steps * KEEP.value**left), 1) for each in going]
        for stop in sorted(set(until)):
            now = [each for each, at in zip(going, until, strict=True) if at == stop]
            launch([each for each in now if not each.is_done(stop)], stop)
        value = {each.name: figures_of(each.workdir).get(HALVE.value) for each in going}
        going.sort(key=lambda each: math.inf if value[each.name] is None else value[each.name])
        if left:
            going = going[: max(math.ceil(len(going) * KEEP.value), 1)]
            best = f"{going[0].name}: {HALVE.value} {value[going[0].name]}"
            logger.info("round %d: %d runs go on; the best is %s", number + 1, len(going), best)


def report(launches: Sequence[Launch]) -> None:
    """Writes sweep.json, and prints a line a run."""
    runs = {}
    for each in launches:
        error, step = each.error(), each.step()
        state = (
            "failed" if error else "done" if each.is_done() else "stopped" if step else "missing"
        )
        names = ("loss", "compile_seconds", "compiled_from_cache")
        known = figures_of(each.workdir)
        figures = {name: known.get(name) for name in names}
        loss = figures["loss"]
        runs[each.name] = {"state": state, "step": step, **figures, "error": error}
        print(f"{state:8} {each.name}  step {step}  loss {loss}  {error or ''}".rstrip())
    file = as_path(WORKDIR.value) / "sweep.json"
    command = {"config": cli.FLAGS.config, "sweep": SWEEP.value}
    known = json.loads(file.read_text())["runs"] if file.exists() else {}
    write_json(file, {**command, "runs": {**known, **runs}})
    print(file)


if __name__ == "__main__":
    cli.run(main)
