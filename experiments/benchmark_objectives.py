"""Times the training step of every few-step objective, and few-step sampling, on digits.

python experiments/benchmark_objectives.py --rounds=5

Prints a part of docs/benchmark.md; experiments/benchmark.py puts it there.
"""

import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags
from objective_calls import calls_of

from jaxdiff import Experiment
from jaxdiff.config.recipes import recipe_module
from jaxdiff.cost.flops import flops
from jaxdiff.networks import algorithms
from jaxdiff.training.step import make_step
from jaxdiff.weights.devices import Devices, make_mesh

RECIPE = Path(__file__).resolve().parents[1] / "configs" / "digits_few_step.py"

ONLY = flags.DEFINE_list("objectives", None, "Variants of configs/digits_few_step.py; all.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed runs of each.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps_a_round", 10, "Training steps of a run.", lower_bound=1)
OUT = flags.DEFINE_string("out", "", "A file for the text, which is also printed.")

TEXT = """## Few-step objectives

The variants of `configs/digits_few_step.py`: a U-Net of {parameters:.2f} M parameters, digits of 8
by 8, {batch} at a time, on {threads} CPU cores. Medians of {rounds} rounds of {steps} steps.

- **evaluations** of one training example: of the student, with or without a gradient; "jvp" of it
  with a tangent; of its average, "target"; of the teacher, the fake score, and the features that a
  discriminator reads.
- **forward passes**: the step's matrix products and convolutions, in operations, divided by those
  of one forward pass; a forward and a backward pass are three.
- **per pass**: the milliseconds of a step divided by its forward passes, beside those of
  `denoising`: 1.00 is the same speed, 1.15 what was aimed at.

| objective | evaluations | forward passes | ms a step | per pass |
|---|---|---|---|---|
{rows}

## Few-step sampling

A flow map draws {batch} digits, from the call to arrays on the host, beside as many calls of the
bare network. What comes on top is noise, the grid of times, the solver and the copy.

| steps | ms, network | ms, samples | overhead |
|---|---|---|---|
{sampling}
"""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a training step costs."""

    calls: str
    passes: float
    seconds: float

    @property
    def per_pass(self) -> float:
        """Returns the seconds of a forward pass's worth of operations."""
        return self.seconds / self.passes


def main(argv: list[str]) -> None:
    """Measures and prints."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {argv[1:]}")
    text = section()
    if OUT.value:
        Path(OUT.value).write_text(text, encoding="utf-8")
    print(text)


def section() -> str:
    """Returns the part of the page."""
    with tempfile.TemporaryDirectory() as folder:
        teacher = _experiment("denoising", "")
        teacher.config.train.update(steps=1, checkpoint_every=1, evaluate_every=0)
        teacher.train(folder)
        methods = ONLY.value or list(_recipe().VARIANTS)
        plain = _cost(teacher)
        rows = []
        for name in methods:
            cost = plain if name == "denoising" else _cost(_experiment(name, folder))
            share = cost.per_pass / plain.per_pass
            rows.append(
                f"| `{name}` | {cost.calls} | {cost.passes:.1f} | {1e3 * cost.seconds:.1f} |"
                f" {share:.2f} |"
            )
            print(rows[-1], flush=True)
        sampling = _sampling(_experiment("mean_flow", folder))
    shapes = jax.tree.leaves(teacher.abstract_state().params["network"])
    return TEXT.format(
        parameters=sum(leaf.size for leaf in shapes) / 1e6,
        batch=teacher.config.batch_size,
        threads=len(os.sched_getaffinity(0)),
        rounds=ROUNDS.value,
        steps=STEPS.value,
        rows="\n".join(rows),
        sampling="\n".join(sampling),
    )


def _experiment(variant: str, teacher: str) -> Experiment:
    recipe = _recipe()
    config = recipe.get_config(variant)
    config.evaluation.evaluators = ()
    if variant in recipe.TAUGHT:
        config.weights.teacher = teacher
    return Experiment(config, Devices(make_mesh(jax.devices()[:1])))


def _recipe() -> Any:
    return recipe_module(str(RECIPE))


def _cost(experiment: Experiment) -> Cost:
    """Returns what a training step of an experiment costs."""
    task = experiment.task
    calls = calls_of(task.objective, task.teacher is not None, task.latent_shape)
    named = " + ".join(f"{n} {who.removeprefix('student, ')}" for who, n in calls.items())
    batch = {n: next(experiment.batches())[n] for n in (*task.fields, "position")}
    passes = _flops_of_step(experiment) / _flops_of_forward(experiment)
    state, batch = experiment.init(), experiment.devices.put(batch)

    def run() -> None:
        nonlocal state
        for step in range(STEPS.value):
            state, _ = experiment.runner.step(state, batch, step)
        jax.block_until_ready(state.params)

    return Cost(named, passes, _median(run) / STEPS.value)


def _median(run: Callable[[], Any]) -> float:
    """Returns the median seconds of some runs, after one that compiles."""
    run()
    seconds = []
    for _ in range(ROUNDS.value):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _flops_of_step(experiment: Experiment) -> float:
    task, size = experiment.task, experiment.config.batch_size
    inputs = experiment.abstract_state(), task.example(size), experiment.recipe.numbers(0)
    return _flops(make_step(experiment.recipe), *inputs)


def _flops_of_forward(experiment: Experiment) -> float:
    apply, params, inputs = _network(experiment)
    return _flops(apply, params, *inputs)


def _flops(function: Callable[..., Any], *inputs: Any) -> float:
    """Returns the operations of a call, without the loops that a CPU has in their place."""
    with algorithms.use(cpu_loops=False):
        return flops(function, *inputs)


def _network(experiment: Experiment) -> tuple[Callable[..., Any], Any, tuple[Any, ...]]:
    """Returns the bare network, its parameters, and inputs of a batch."""
    task, size = experiment.task, experiment.config.batch_size
    x, t = jnp.zeros((size, *task.latent_shape)), jnp.full(size, 500.0)
    cond = {"label": jnp.zeros(size, jnp.int32), **dict.fromkeys(task.model.scalars, t / 1000)}
    network = task.model.network
    apply = lambda params, x, t, cond: network.apply({"params": params}, x, t, cond)
    params = experiment.abstract_state().params["network"]
    return apply, params, (x, t, cond)


def _sampling(experiment: Experiment) -> list[str]:
    """Returns rows of few-step sampling beside the bare network."""
    weights = experiment.average(experiment.init())
    apply, _, inputs = _network(experiment)
    compiled = jax.jit(apply)
    size = experiment.config.batch_size
    forward = _median(lambda: compiled(weights["network"], *inputs).block_until_ready())
    rows = []
    for steps in (1, 2, 4):
        draw = lambda steps=steps: experiment.sampler(
            weights, size, {"label": 1}, steps=steps, batch_size=size
        )
        seconds = _median(draw)
        share = 100 * (seconds / (steps * forward) - 1)
        rows.append(
            f"| {steps} | {1e3 * steps * forward:.1f} | {1e3 * seconds:.1f} | {share:+.0f} % |"
        )
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    app.run(main)
