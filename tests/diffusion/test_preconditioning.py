"""A network's inputs, against the formulas of Karras et al. (2022, table 1) and others'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.diffusion import preconditioning, schedules
from jaxdiff.diffusion.parameterizations import bounded_edm
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Prediction

EDM, COSINE = Process(schedules.EDM(sigma_max=80.0)), Process(schedules.Cosine())
T = jnp.array([1e-4, 0.01, 0.3, 1.0])
X = jnp.linspace(-2, 2, 8).reshape(4, 2)


def test_edm_inputs_are_the_papers():
    """c_in and c_noise; fails if data_std is not squared, or the logarithm is another's."""
    sigma = 80 * np.asarray(T)
    c_in = 1 / np.sqrt(0.7**2 + sigma**2)
    scaled = preconditioning.UnitVariance(data_std=0.7)(EDM, X, T)
    np.testing.assert_allclose(scaled, X * c_in[:, None], rtol=1e-5)
    np.testing.assert_allclose(
        preconditioning.LogNoise()(EDM, T), np.log(sigma) / 4, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(preconditioning.Unscaled()(EDM, X, T), X)


@pytest.mark.parametrize("process", [EDM, COSINE])
def test_scaled_inputs_have_variance_one(process):
    """Of data with that deviation, at every noise level; fails if alpha is forgotten."""
    x0, noise = jax.random.normal(jax.random.key(0), (2, 4, 20_000))
    x = process.perturb(Prediction(0.5 * x0, noise), T)
    scaled = preconditioning.UnitVariance(data_std=0.5)(process, x, T)
    np.testing.assert_allclose(scaled.std(axis=1), 1, atol=0.02)


def test_times_as_discrete_models_count_them():
    """Step i of 1,000 has the index i - 1; fails if the first is 1."""
    index = preconditioning.DiscreteIndex(1000)(COSINE, jnp.array([1, 2, 999, 1000]) / 1000)
    np.testing.assert_array_equal(index, [0, 1, 998, 999])
    np.testing.assert_allclose(preconditioning.ScaledTime(500.0)(COSINE, T), 500 * T, rtol=1e-6)


def test_bounds_of_a_consistency_model():
    """c_skip and c_out of Song et al. (2023), and x itself at the lowest noise level."""
    row = bounded_edm(data_std=0.7, sigma_min=0.1)
    sigma = 80 * np.asarray(T)
    y = jnp.cos(X)
    found = EDM.solve(row, y, X, T).x0
    s = sigma - 0.1
    skip = 0.7**2 / (s**2 + 0.7**2)
    out = s * 0.7 / np.sqrt(sigma**2 + 0.7**2)
    np.testing.assert_allclose(found, skip[:, None] * X + out[:, None] * y, rtol=1e-4, atol=1e-5)
    near = jnp.full(4, 0.1001 / 80)
    np.testing.assert_allclose(EDM.solve(row, y, X, near).x0, X, atol=2e-4)
