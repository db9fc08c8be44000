"""Mixtures of Gaussians, of which the density is known, for the tests of likelihoods."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff import random
from jaxdiff.diffusion import likelihood, oracles, schedules
from jaxdiff.diffusion.process import Process

PROCESSES = {
    "cosine": Process(schedules.Cosine()),
    "rectified_flow": Process(schedules.RectifiedFlow()),
    "edm": Process(schedules.EDM()),
}


def mixture(process, d=1):
    """Means that cancel: where alpha(1) > 0, the prior's error is of second order then."""
    means = jnp.array([[-1.0, 0.5], [0.9, -0.7], [-0.5, 1.0]])[:, :d]
    return oracles.GaussianMixture(
        process,
        weights=jnp.array([0.4, 0.5, 0.1]) if d == 1 else jnp.array([0.4, 0.4, 0.2]),
        means=means if d == 1 else means - jnp.array([0.4, 0.4, 0.2]) @ means,
        stds=jnp.array([0.5, 0.2, 0.6]),
    )


def keys_of(n, seed=0):
    return random.example_keys(jax.random.key(seed), jnp.arange(n))


def points(n, d):
    """A likelihood holds at every point, drawn from the data or not."""
    return jnp.asarray(np.random.default_rng(0).normal(scale=0.9, size=(n, d)))


def density(oracle, x):
    return jax.jit(oracle.log_density)(x, jnp.zeros(len(x)))


def bound(process, denoiser, x, keys, times=None, **options):
    """Of a grid, or the continuous one."""

    def run(x, keys):
        if times is None:
            return likelihood.continuous_bound(process, denoiser, x, {}, keys, **options)
        return likelihood.variational_bound(process, denoiser, x, {}, times, keys, **options)

    return jax.jit(run)(x, keys)
