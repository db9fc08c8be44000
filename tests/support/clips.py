"""A run of clips with random weights."""

from dataclasses import replace

import jax
import numpy as np

from jaxdiff import Experiment
from jaxdiff.config.recipes import load_recipe
from jaxdiff.runs.run import Run
from jaxdiff.weights.devices import Devices, make_mesh


def clips_run() -> Run:
    """Returns a run of the recipe of digits that move, with a tiny network.

    Its weights are random: at the beginning of training what it says does not depend on x.
    """
    config = load_recipe("moving_digits:transformer")
    config.network.update(features=8, depth=1, num_heads=1)
    config.sampling.update(guidance_scale=1.0, solver="Euler", steps=4)
    made = Experiment(config, Devices(make_mesh(jax.devices()[:1])))
    run, generator = Run.of(made, made.init()), np.random.default_rng(0)
    random = lambda a: a + 0.2 * generator.standard_normal(a.shape).astype(a.dtype)
    return replace(
        run, weights={**run.weights, "network": jax.tree.map(random, run.weights["network"])}
    )
