"""Edits: noise that reproduces a picture, and moves it as far as the condition moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.diffusion import editing, schedules
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.solvers import DDIM
from jaxdiff.typing import Prediction

PROCESS = Process(schedules.Cosine())
TIMES = jnp.linspace(1.0, 0.0, 21)
KEYS = random.example_keys(jax.random.key(3), jnp.arange(6))


def denoiser(x, t, cond):
    """The exact denoiser of N(cond["mean"], 1)."""
    alpha, sigma = PROCESS.at(t, x)
    rest = x - alpha * cond["mean"]
    share = 1 / (alpha**2 + sigma**2)
    return Prediction(cond["mean"] + share * alpha * rest, share * sigma * rest)


def pictures():
    return 2 + jax.random.normal(jax.random.key(0), (6, 5))


@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_the_noise_of_a_picture_leads_back_to_it(eta):
    """Fails if a mean, a deviation or a time of the two passes differs."""
    solver, cond = DDIM(PROCESS, eta), {"mean": jnp.full((6, 1), 2.0)}
    found = editing.edit_friendly(solver, denoiser, pictures(), TIMES, cond, KEYS)
    assert (found.x.shape, found.noise.shape, found.times.shape) == ((20, 6, 5), (19, 6, 5), (20,))
    for first in (0, 7, 18):
        again = editing.replay(solver, denoiser, found.later(first), cond)
        np.testing.assert_allclose(again, pictures(), rtol=1e-4, atol=1e-4)


def test_another_condition_moves_the_picture_and_keeps_its_own():
    """Fails if the picture is forgotten: of a Gaussian, the edit is a shift of all pictures."""
    solver = DDIM(PROCESS, 1.0)
    source, target = ({"mean": jnp.full((6, 1), m)} for m in (2.0, 5.0))
    found = editing.edit_friendly(solver, denoiser, pictures(), TIMES, source, KEYS)
    shift = np.asarray(editing.replay(solver, denoiser, found, target) - pictures())
    np.testing.assert_allclose(shift, np.full_like(shift, shift.mean()), rtol=1e-3)
    assert 2.5 < shift.mean() < 3.01
    less = editing.replay(solver, denoiser, found.later(12), target) - pictures()
    assert 0.1 < np.mean(less) < 0.8 * shift.mean()


def test_an_inversion_without_noise_is_an_error():
    """Fails if it divides by zero."""
    for solver, times, message in (
        (DDIM(PROCESS, 0.0), TIMES, "eta=0 adds no noise"),
        (DDIM(PROCESS, 1.0), TIMES[:2], "a grid of 1 steps"),
    ):
        with pytest.raises(ValueError, match=message):
            editing.edit_friendly(solver, denoiser, pictures(), times, {"mean": 0.0}, KEYS)


def test_the_arc_between_two_noises_has_their_norm():
    """Fails if it is the straight line; parallel ones have no arc."""
    a, b = jax.random.normal(jax.random.key(1), (2, 3, 64, 4))
    np.testing.assert_allclose(editing.slerp(a, b, 0.0), a, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(editing.slerp(a, b, 1.0), b, rtol=1e-5, atol=1e-6)
    norm = lambda x: np.linalg.norm(np.reshape(x, (3, -1)), axis=1)
    middle = editing.slerp(a, b, 0.5)
    np.testing.assert_allclose(norm(middle), (norm(a) + norm(b)) / 2, rtol=0.02)
    assert np.all(norm((a + b) / 2) < 0.85 * norm(a))
    np.testing.assert_allclose(editing.slerp(a, a, 0.3), a, rtol=1e-5)
