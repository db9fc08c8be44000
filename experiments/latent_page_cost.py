"""The time and the memory of training steps and of calls, for `latent_page.py`."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxdiff import Experiment
from jaxdiff.config.recipes import load_recipe
from jaxdiff.cost.flops import flops
from jaxdiff.training.step import make_step


def seconds(function: Callable, *arguments: Any) -> float:
    """Returns the fastest of three calls, after one that compiles."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def of_step(recipe: str, codec: str, timed: int) -> dict[str, float]:
    """Returns operations, seconds and memory of a training step of 16 scenes, the fastest of some.

    `codec` is the folder of an autoencoder; without one a recipe in latents has no figures.
    """
    config: Any = load_recipe(recipe)
    config.batch_size = 16
    if config.codec.name != "Pixels":
        if not codec:
            return {}
        config.weights.codec = codec
    experiment = Experiment(config)
    state, one = experiment.init(), next(experiment.batches())
    names = (*experiment.task.fields, "position")
    batch = experiment.devices.put({name: one[name] for name in names})
    with experiment.devices.algorithms():
        counted = flops(make_step(experiment.recipe), state, batch, experiment.recipe.numbers(0))
    compiled = experiment.runner.lower(state, batch).compile()
    memory: Any = compiled.memory_analysis()
    times = []
    for number in range(timed + 1):
        start = time.perf_counter()
        state, metrics = compiled(state, batch, experiment.recipe.numbers(number))
        jax.block_until_ready(metrics)
        times.append(time.perf_counter() - start)
    return {
        "operations": counted,
        "seconds": min(times[1:]),
        "temporary_bytes": float(getattr(memory, "temp_size_in_bytes", float("nan"))),
        "numbers": float(np.prod(experiment.task.latent_shape)),
    }
