"""Sliders on Gaussians, whose means are the conditions, and a run with an adapter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import Experiment, random
from jaxdiff.diffusion import parameterizations, schedules
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.time_sampling import Uniform
from jaxdiff.diffusion.weighting import Simple
from jaxdiff.objectives.sliders import Slider
from jaxdiff.training.step import make_step
from jaxdiff.typing import Draw, Prediction, Roles
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.tiny import tiny_config

PROCESS = Process(schedules.RectifiedFlow())
SLIDER = Slider(
    PROCESS, parameterizations.velocity, Uniform(), Simple(), "more", "less", strength=0.5
)


def denoiser(shift):
    """The exact denoiser of N(mean, 1), whose mean is that of the condition and a shift."""

    def ask(x, t, cond):
        alpha, sigma = PROCESS.at(t, x)
        mean, share = cond["text"][:, None] + shift, 1 / (alpha**2 + sigma**2)
        innovation = share * (x - alpha * mean)
        return Prediction(mean + alpha * innovation, sigma * innovation)

    return ask


def test_a_student_with_the_concept_has_no_loss_and_others_move_towards_it():
    """Fails if the prompts change places, or the strength is not the change's factor."""
    keys = random.example_keys(jax.random.key(0), jnp.arange(8))
    draw = Draw(keys, (jnp.arange(8) + 0.5) / 8)
    x0 = jax.random.normal(jax.random.key(1), (8, 2))
    cond = {"text": jnp.linspace(-1, 1, 8), "positive": jnp.full(8, 2.0), "negative": jnp.zeros(8)}

    def loss(shift):
        roles = Roles(denoiser(shift), target=denoiser(0.0), teacher=denoiser(0.0))
        return SLIDER(roles, x0, cond, draw, jnp.int32(0))[0].mean()

    of = jax.jit(jax.value_and_grad(loss))
    value, slope = of(1.0)  # 0.5·(2 - 0)
    np.testing.assert_allclose([value, slope], 0, atol=1e-6)
    assert of(0.0)[1] < -1e-2
    assert of(2.0)[1] > 1e-2


def test_a_task_encodes_the_prompts(monkeypatch):
    """Traced only; fails if prompts reach the network as conditions, or need no encoder."""
    monkeypatch.setattr("jaxdiff.tasks.students.check_objective", lambda *given: None)
    config = tiny_config()
    config.condition_dropout = 0.0
    config.objective = "Slider(positive='a big cat', negative='a small cat')"
    config.time_sampling, config.conditions = "Uniform", ("text",)
    config.transforms = (f"Caption(template='a {{}}', class_names={('cat', 'dog') * 5})",)
    inputs = {"text_features": 12, "pooled_features": 12, "learned_null": True}
    config.network = {"name": "tests.support.frozen_parts:Reader", "inputs": inputs}
    with config.unlocked():
        config.encoders = {"text": {"name": "Words", "features": 12, "window": 6}}
    monkeypatch.setattr("jaxdiff.objectives.sliders.teacher_of", lambda roles: roles.target)
    experiment = Experiment(config, Devices(make_mesh(jax.devices()[:1])))
    state, batch = experiment.abstract_state(), experiment.task.example(16)
    numbers = experiment.recipe.numbers(0)
    _, metrics = jax.eval_shape(make_step(experiment.recipe), state, batch, numbers)
    assert "change" in metrics
    SLIDER.check_config(config)
    with pytest.raises(ValueError, match=r"Slider: config\.encoders has no 'text'"):
        SLIDER.check_config(tiny_config())
    config.condition_dropout = 0.1
    with pytest.raises(ValueError, match=r"Slider: condition_dropout=0\.1 must be 0"):
        SLIDER.check_config(config)
