"""The algebra of flow maps, and the exact ones of known distributions; in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.diffusion import flow_map, oracles, schedules
from jaxdiff.diffusion.parameterizations import edm, velocity
from jaxdiff.diffusion.process import Process

COSINE, FLOW = Process(schedules.Cosine()), Process(schedules.RectifiedFlow())
EDM = Process(schedules.EDM(sigma_max=20.0))
T, R, S = np.array([1.0, 0.8, 0.5, 0.3]), np.array([0.6, 0.5, 0.2, 0.2]), np.array([0.3, 0.1, 0, 0])


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def mixture(process, dimensions=1):
    means = np.array([[-1.0, 0.3], [0.8, -0.5]])[:, :dimensions]
    stds = jnp.array([0.3, 0.4])
    return oracles.GaussianMixture(process, jnp.array([0.4, 0.6]), jnp.asarray(means), stds)


def points(process, dimensions=1):
    """Points x [4, d] where p_t is, and their times."""
    z = np.random.default_rng(0).normal(size=(4, dimensions))
    alpha, sigma = process.at(jnp.asarray(T), jnp.asarray(z))
    return jnp.hypot(alpha, sigma) * z, jnp.asarray(T), jnp.asarray(R), jnp.asarray(S)


@pytest.mark.parametrize("process", [COSINE, FLOW, EDM])
def test_the_integrated_flow_carries_quantiles_to_quantiles(process):
    """Fails if the integration is of a lower order, or the frame has another scale."""
    oracle = mixture(process)
    x, t, _, s = points(process)
    integrated = jax.jit(oracles.FlowMap(oracle, steps=256).flow)(x, t, s)
    np.testing.assert_allclose(integrated, oracle.flow(x, t, s), atol=1e-10)


@pytest.mark.parametrize("process", [COSINE, FLOW])
def test_flow_maps_compose(process):
    """From t to r to s is from t to s; fails if `until` is read as something else."""
    student = oracles.FlowMap(mixture(process, 2), steps=256)
    jump = jax.jit(partial(flow_map.jump, process, student, cond={}))
    x, t, r, s = points(process, 2)
    np.testing.assert_allclose(jump(jump(x, t, r), r, s), jump(x, t, s), atol=1e-9)
    np.testing.assert_array_equal(jump(x, t, t), x)
    assert np.abs(jump(x, t, r) - x).min() > 1e-3


def test_a_time_above_the_first_is_named():
    with pytest.raises(ValueError, match=r"until=\[0.5\] is above t=\[0.3\]: a flow map leads"):
        oracle = oracles.Gaussian(COSINE, jnp.zeros(1), 0.5)
        flow_map.ask(oracle, jnp.zeros((1, 1)), jnp.array([0.3]), jnp.array([0.5]), {})


def test_on_the_diagonal_a_flow_map_is_the_denoiser():
    oracle = oracles.Gaussian(COSINE, jnp.array([0.4, -0.2]), 0.5)
    x, t, _, _ = points(COSINE, 2)
    student, now = oracles.FlowMap(oracle), oracle(x, t, {})
    for found in (student(x, t, {}), flow_map.ask(student, x, t, t, {})):
        np.testing.assert_array_equal(found[:2], now[:2])
    near = flow_map.ask(student, x, t, t - 1e-7, {})
    np.testing.assert_allclose(near[:2], now[:2], atol=1e-5)


@pytest.mark.parametrize("process", [COSINE, FLOW, EDM])
def test_value_mean_velocity_and_prediction_say_the_same(process):
    """Fails if one of the rows, or the order of t and s, is another."""
    student = oracles.FlowMap(oracles.Gaussian(process, jnp.array([0.4, -0.2]), 0.5))
    x, t, _, s = points(process, 2)
    prediction = flow_map.ask(student, x, t, s, {})
    np.testing.assert_allclose(process.perturb(prediction, t), x, rtol=1e-12)
    x_s = process.read(flow_map.value_at(s), prediction, t)
    np.testing.assert_allclose(x_s, student.of.flow(x, t, s), rtol=1e-12)
    u = process.read(flow_map.mean_velocity(s), prediction, t)
    np.testing.assert_allclose(u, (x - x_s) / (t - s)[:, None], rtol=1e-12)
    for row, y in [(flow_map.value_at(s), x_s), (flow_map.mean_velocity(s), u)]:
        found = process.solve(row, y, x, t)
        np.testing.assert_allclose(found[:2], prediction[:2], rtol=1e-10)
    on_the_diagonal = process.read(flow_map.mean_velocity(t), prediction, t)
    np.testing.assert_allclose(on_the_diagonal, process.read(velocity, prediction, t), rtol=1e-12)


def test_a_consistency_function_has_its_boundary():
    """c_skip·x + c_out·F of Song et al. (2023, eq. 5) is the row of `edm`, for any F."""
    x, t = jnp.array([[0.7], [-0.4]]), jnp.array([0.5, 1e-9])
    f = EDM.solve(edm(0.5), jnp.array([[0.3], [5.0]]), x, t).x0
    sigma = 20 * 0.5
    expected = (0.25 * 0.7 + sigma * 0.5 * 0.3 * np.hypot(sigma, 0.5)) / (sigma**2 + 0.25)
    np.testing.assert_allclose(f[0, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(f[1], x[1], atol=1e-6)


@pytest.mark.parametrize("process", [COSINE, FLOW])
def test_the_mean_velocity_obeys_the_identity_of_meanflow(process):
    """u = v - (t - s)·du/dt along the flow (Geng et al. 2025, eq. 6); fails for a wrong tangent."""
    student = oracles.FlowMap(mixture(process, 2), steps=128)
    x, t, _, s = (a[1:] for a in points(process, 2))
    v = process.read(velocity, student.of(x, t, {}), t)

    def u(x, t):
        prediction = flow_map.ask(student, x, t, s, {})
        return process.read(flow_map.mean_velocity(s), prediction, t)

    mean, slope = jax.jit(partial(jax.jvp, u))((x, t), (v, jnp.ones_like(t)))
    np.testing.assert_allclose(mean, v - (t - s)[:, None] * slope, atol=1e-7)
    assert np.abs(mean - v).min() > 1e-3
