"""A real sweep on digits, schedule by parameterization by solver by seed; writes docs/sweeps.md.

python experiments/digits_sweep.py --workdir=runs/digits_sweep

Seeds of a variation are trained together, by one program. The same command trains only what is
missing; distances are kept beside each run, in solvers.json.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cli
import jax
import numpy as np
from absl import flags

import jaxdiff
from jaxdiff import Experiment, Run, trees
from jaxdiff.config.recipes import recipe_module
from jaxdiff.evaluation.comparison import save_curves, save_effects
from jaxdiff.evaluation.pictures import save_grid
from jaxdiff.evaluation.sliced_wasserstein import sliced_wasserstein
from jaxdiff.files import atomic_write, check_writable, write_json
from jaxdiff.runs import compare, sweeps
from jaxdiff.runs.launchers import Launch
from jaxdiff.runs.together import Together
from jaxdiff.training import together
from jaxdiff.weights.devices import Devices, make_mesh

PROCESSES = ("Cosine", "RectifiedFlow")
PARAMETERIZATIONS = ("v", "x0")
SOLVERS = {"Euler": 16, "Heun": 8, "DPMpp2M": 16}
"""Steps of each, so that the network is asked sixteen times."""
SEEDS = 3
NETWORK = {"name": "DiT", "features": 48, "depth": 3, "num_heads": 4}
METRIC = "sliced_wasserstein"

WORKDIR = cli.flag("workdir", cli.Text, "runs/digits_sweep", "Folder of the runs.")
OUT = cli.flag("out", cli.Text, "docs/sweeps.md", "The page; its pictures lie beside it.")
STEPS = cli.flag("steps", cli.Size, 400, "Optimizer steps of each run.")
NUM = cli.flag("num", cli.Size, 256, "Samples that each distance is made of.")
AT_ONCE = flags.DEFINE_list("at_once", ["1", "4", "16"], "Runs together, to measure the gain.")

PAGE = """# A sweep

`experiments/digits_sweep.py` trains {runs} runs on digits of 8 by 8 pixels and writes this page:
{processes} by {parameterizations}, {seeds} seeds of each, {steps} steps of {batch} digits by a
transformer of {parameters} parameters, without guidance. Each trained run is then sampled by
{solvers}, sixteen evaluations of the network. It says which differences are larger than those
between seeds, not how good these models can become: {steps} steps are a short training.

The measure is the sliced Wasserstein distance between {num} samples and as many held-out digits of
the same classes, in pixels of [-1, 1]; two halves of the real digits are {floor:.3f} apart. Lower
is better. Intervals are 95 % bootstrap intervals of the mean over seeds. All are near that floor,
though the digits are hardly legible: the measure sees little but the statistics of strokes.

{best}

![The mean at each value, over all else]({name}_effects.png)

{effects}

![Loss curves, a run each]({name}_curves.png)

Losses of different parameterizations are different quantities, and are not to be compared.

![Samples of the best and of the worst variation, two rows each]({name}_samples.png)

## Runs together

Seeds, learning rates and the floats of losses, schedules and averages are arguments of the step, so
runs that differ in these are one program under `jax.vmap` (`sweep.py --launcher=together`).
Milliseconds of CPU that the step of one run costs (all threads, {processors} cores, batch {batch}),
and seconds of compiling. On a CPU that one run fills already, compiling is saved and steps are not:

{gain}

One after another (`--launcher=here`, `pool`, `commands`, `slurm`) such runs compile once as well:
the numbers in which they differ are arguments, and the compilation cache has the program.

## The same by hand

    python experiments/sweep.py --config=configs/digits.py:dit --workdir=runs/sweep \\
        --launcher=together --sweep process=Cosine,RectifiedFlow --sweep seed=0:3
    python experiments/compare.py --workdir=runs/sweep
"""


def main() -> None:
    """Trains and measures what is missing, and writes the page and its pictures."""
    out = Path(OUT.value)
    check_writable(out)
    launches = planned()
    Together()([each for each in launches if not each.is_done()])
    if errors := [f"{each.name}: {each.error()}" for each in launches if each.error()]:
        raise RuntimeError(f"runs failed: {errors}")
    rows = measured(launches)
    write(out, launches, rows)
    print(out)


def planned() -> list[Launch]:
    """Returns the runs, by schedule, parameterization and seed."""
    module: Any = recipe_module("configs/digits.py")
    fields = {"process": PROCESSES, "parameterization": PARAMETERIZATIONS, "seed": range(SEEDS)}
    each = [[{field: value} for value in values] for field, values in fields.items()]
    found = []
    for name, variation in sweeps.named(list(sweeps.product(*each))).items():
        config = module.get_config("dit")
        config.network = NETWORK
        config.train.steps = config.train.checkpoint_every = STEPS.value
        config.train.evaluate_every, config.train.log_every = 0, max(STEPS.value // 20, 1)
        config.train.writers, config.evaluation.evaluators = (), ()
        config.sampling.guidance_scale = 1.0
        config.sampling.batch_size = NUM.value
        config.update_from_flattened_dict(variation)
        found.append(Launch(name, Path(WORKDIR.value) / name, config, ()))
    return found


def measured(launches: Sequence[Launch]) -> list[compare.Record]:
    """Returns a record for each run and solver; seeds share one compiled sampler."""
    real, labels = held_out(launches[0])
    found, shared = [], {}
    for launch in launches:
        fields = {n: launch.config[n] for n in ("process", "parameterization", "seed")}
        key = fields["process"], fields["parameterization"]
        file = launch.workdir / "solvers.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        for solver, steps in SOLVERS.items():
            if solver not in known:
                run = jaxdiff.load(launch.workdir)
                sampler = shared.setdefault(key, run).experiment.sampler
                cond = {"label": labels}
                samples = sampler(run.weights, len(labels), cond, solver=solver, steps=steps)
                known[solver] = sliced_wasserstein(flat(samples), real)
                write_json(file, known)
            row = {**fields, "solver": solver}
            figures = {METRIC: known[solver]}
            found.append(compare.Record(launch.workdir, row, figures, ((), ())))
    return found


def held_out(launch: Launch) -> tuple[np.ndarray, np.ndarray]:
    """Returns digits of the test split as vectors, and their labels."""
    batch = next(Experiment(launch.config).batches("test", batch_size=NUM.value))
    return flat(batch["x"]), batch["label"]


def flat(images: np.ndarray) -> np.ndarray:
    """Returns images as vectors."""
    return np.asarray(images).reshape(len(images), -1)


def gain(launch: Launch, count: int, steps: int = 10) -> tuple[float, float]:
    """Returns CPU seconds of a step of one run among `count`, and seconds of compiling."""
    first = Experiment(launch.config, Devices(make_mesh(jax.devices()[:1])))
    group = together.Group([first.recipe] * count)
    state = trees.stacked([first.init()] * count)
    batch = next(first.batches())
    batch = {name: batch[name] for name in (*first.task.fields, "position")}
    batch = trees.stacked([batch] * count)
    start = time.process_time()
    arguments = (state, batch, group.numbers(0))
    step = jax.jit(group.step, donate_argnums=0).lower(*arguments).compile()
    compiled = time.process_time() - start
    state, _ = jax.block_until_ready(step(state, *arguments[1:]))
    start = time.process_time()
    for _ in range(steps):
        state, _ = step(state, *arguments[1:])
    jax.block_until_ready(state)
    return (time.process_time() - start) / steps / count, compiled


def write(out: Path, launches: Sequence[Launch], found: Sequence[compare.Record]) -> None:
    """Writes the page and its pictures."""
    real, _ = held_out(launches[0])
    half = len(real) // 2
    best = compare.over_seeds(found, METRIC)
    effects = compare.effects(found, METRIC)
    beside = lambda name: out.with_name(f"{out.stem}_{name}.png")
    save_effects(beside("effects"), effects, METRIC)
    curves = {each.name: each.curve for each in compare.records(WORKDIR.value) if each.curve[0]}
    save_curves(beside("curves"), curves)
    pictures = [sample(launches, row) for row in (best[0], best[-1])]
    save_grid(beside("samples"), np.concatenate(pictures), columns=20)
    run = jaxdiff.load(launches[0].workdir)
    size = sum(leaf.size for leaf in jax.tree.leaves(run.weights["network"]))
    by_value = [
        {"field": field, "value": value, METRIC: mean}
        for field, means in effects.items()
        for value, mean in means.items()
    ]
    text = PAGE.format(
        runs=len(launches),
        processes=" and ".join(f"`{each}`" for each in PROCESSES),
        parameterizations=", ".join(f"`{each}`" for each in PARAMETERIZATIONS),
        solvers=", ".join(f"`{name}` in {steps} steps" for name, steps in SOLVERS.items()),
        seeds=SEEDS,
        steps=STEPS.value,
        batch=launches[0].config.batch_size,
        parameters=f"{size:,}",
        num=len(real),
        floor=sliced_wasserstein(real[:half], real[half : 2 * half]),
        best=compare.markdown(best),
        effects=compare.markdown(by_value),
        name=out.stem,
        processors=jax.local_device_count() if jax.default_backend() != "cpu" else cores(),
        gain=compare.markdown([gain_row(launches[0], int(n)) for n in AT_ONCE.value]),
    )
    with atomic_write(out) as draft:
        draft.write_text(text)


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def gain_row(launch: Launch, count: int) -> Mapping[str, Any]:
    """Returns a row of the table of runs together."""
    seconds, compiled = gain(launch, count)
    return {
        "runs at once": count,
        "ms of CPU a step and run": 1000 * seconds,
        "s to compile": compiled,
    }


def sample(launches: Sequence[Launch], row: Mapping[str, Any]) -> np.ndarray:
    """Returns two rows of twenty digits by a variation's first seed."""
    same = lambda each: all(each.config[n] == row[n] for n in ("process", "parameterization"))
    run: Run = jaxdiff.load(next(each for each in launches if same(each)).workdir)
    order, solver = np.tile(np.repeat(np.arange(10), 2), 2), row["solver"]
    return run.sample(40, {"label": order}, solver=solver, steps=SOLVERS[solver])


if __name__ == "__main__":
    cli.run(main)
