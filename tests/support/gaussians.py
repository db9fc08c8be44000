"""Labelled Gaussians, of which everything is known, for the tests of guidance."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxdiff.condition import conditions, drop, keep_of
from jaxdiff.diffusion import schedules
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Prediction

COSINE, FLOW = Process(schedules.Cosine()), Process(schedules.RectifiedFlow())
EDM = Process(schedules.EDM())
MEANS = np.array([[1.0, -0.5, 0.2], [-0.8, 0.6, 0.4], [0.3, 0.9, -1.0]])
STD, NULL_STD = 0.5, 1.0
B = 5
X = np.random.default_rng(0).normal(size=(B, 3))
T = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
LABEL = np.array([0, 1, 2, 0, 1])


def given():
    """x_t, t and labels of five examples."""
    return jnp.asarray(X), jnp.asarray(T), {"label": jnp.asarray(LABEL)}


def gaussian(process, x, t, mean, std):
    """Posterior means under N(mean [b, d], std² [b, 1])."""
    alpha, sigma = process.at(t, x)
    innovation = (x - alpha * mean) / (alpha**2 * std**2 + sigma**2)
    return Prediction(x0=mean + alpha * std**2 * innovation, noise=sigma * innovation)


def of_label(x, t, cond, process=COSINE):
    """N(MEANS[label], STD²) where the label is kept, N(0, NULL_STD²) where it is dropped."""
    label = conditions(cond)["label"]
    kept = keep_of(label)[:, None]
    mean = jnp.where(kept, jnp.asarray(MEANS)[label.value], 0.0)
    return gaussian(process, x, t, mean, jnp.where(kept, STD, NULL_STD))


@functools.cache
def pair():
    """The conditional and the unconditional prediction of what is `given`."""
    x, t, cond = given()
    return of_label(x, t, cond), of_label(x, t, drop(cond))


def equal(a, b, **tolerance):
    """Asserts that two predictions agree."""
    for left, right in zip(a[:2], b[:2], strict=True):
        np.testing.assert_allclose(left, right, **({"rtol": 1e-9, "atol": 1e-12} | tolerance))
