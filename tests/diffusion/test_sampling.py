"""Sampling, guidance and oracles against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.diffusion import oracles, schedules, solvers
from jaxdiff.diffusion.guidance import classifier_free
from jaxdiff.diffusion.parameterizations import velocity
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import prior, sample, trajectory
from jaxdiff.diffusion.solvers import DDIM, DPMpp2M, Heun
from jaxdiff.diffusion.timesteps import Karras, Uniform
from jaxdiff.typing import Condition, Prediction, Span

COSINE = Process(schedules.Cosine())
SOLVERS = ["DDPM", "DDIM", "Euler", "Heun", "DPMpp2M", "EDMStochastic"]


def keys_of(n, seed=0):
    return random.example_keys(jax.random.key(seed), jnp.arange(n))


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.Cosine(),
        schedules.EDM(),
        pytest.param(schedules.LinearBeta(), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_draws_the_gaussian(name, schedule):
    """Mean and deviation of samples of a known Gaussian; fails if noise has the wrong scale."""
    process = Process(schedule)
    oracle = oracles.Gaussian(process, mean=jnp.array([0.5, -0.25]), std=0.4)
    solver = getattr(solvers, name)(process)
    times, keys = Karras()(process, 256), keys_of(2048)
    x = prior(process, keys, jnp.zeros((2048, 2)), times[0])
    x = jax.jit(lambda x: sample(solver, oracle, x, times, {}, keys))(x)
    np.testing.assert_allclose(x.mean(0), [0.5, -0.25], atol=0.03)
    np.testing.assert_allclose(x.std(0), 0.4, atol=0.02)


@pytest.mark.parametrize("name", SOLVERS)
def test_no_solver_meets_a_nan_at_the_ends(name):
    """Cosine has alpha(1) = 0 and sigma(0) = 0: fails if a step divides by either."""
    oracle = oracles.Gaussian(COSINE, mean=jnp.array([0.5]), std=0.4)
    keys = keys_of(4)
    for steps in (1, 2, 3):
        times = Uniform()(COSINE, steps)
        x = prior(COSINE, keys, jnp.zeros((4, 1)), times[0])
        x = sample(getattr(solvers, name)(COSINE), oracle, x, times, {}, keys)
        assert bool(jnp.isfinite(x).all())


def test_ddpm_is_ddim_with_eta_one():
    """Fails if either takes alpha(t) for alpha(s)."""
    oracle = oracles.Gaussian(COSINE, mean=jnp.zeros(2), std=0.4)
    keys, times = keys_of(8), Uniform()(COSINE, 10)
    x = prior(COSINE, keys, jnp.zeros((8, 2)), times[0])
    run = lambda solver: sample(solver, oracle, x, times, {}, keys)
    np.testing.assert_allclose(
        run(solvers.DDPM(COSINE)), run(solvers.DDIM(COSINE, eta=1.0)), atol=1e-6
    )
    np.testing.assert_array_equal(run(solvers.Euler(COSINE)), run(solvers.DDIM(COSINE)))


def test_ddim_refuses_an_impossible_eta():
    with pytest.raises(ValueError, match=r"eta is 1\.5"):
        solvers.DDIM(COSINE, eta=1.5)


def test_edm_stochastic_without_churn_is_heun():
    """Fails if the raised time or the added noise is not the identity at s_churn = 0."""
    process = Process(schedules.EDM())
    oracle = oracles.Gaussian(process, mean=jnp.zeros(2), std=0.5)
    keys, times = keys_of(8), Karras()(process, 10)
    x = prior(process, keys, jnp.zeros((8, 2)), times[0])
    run = lambda solver: sample(solver, oracle, x, times, {}, keys)
    np.testing.assert_allclose(
        run(solvers.EDMStochastic(process, s_churn=0.0)), run(solvers.Heun(process)), rtol=1e-5
    )


@pytest.mark.parametrize(("churn", "gamma"), [(4.0, 0.2), (40.0, 2**0.5 - 1)])
def test_edm_stochastic_is_the_papers_algorithm(churn, gamma):
    """Algorithm 2, below, between and above its noise levels; fails if one of its four numbers,
    the limit of the churn or the division by the steps is lost.
    """
    with jax.enable_x64(True):
        process, mean, std = Process(schedules.EDM()), 0.3, 0.5
        oracle = oracles.Gaussian(process, mean=jnp.array([mean]), std=std)
        solver = solvers.EDMStochastic(process, churn, s_min=0.1, s_max=10.0, s_noise=1.5)
        x = jnp.array([[0.4], [-0.7], [3.0], [20.0]])
        sigma = np.array([[0.05], [0.5], [5.0], [20.0]])
        keys, time = keys_of(4), lambda sigma: jnp.asarray(sigma[:, 0] / 80)
        span = Span(time(sigma), time(0.6 * sigma), keys, 20)
        found = jax.jit(lambda x: solver.step(oracle, x, span, {}, ())[0])(x)

        hat = sigma * np.array([[1], [1 + gamma], [1 + gamma], [1]])
        x_hat = x + np.sqrt(hat**2 - sigma**2) * 1.5 * np.asarray(random.normal(keys, x))
        slope = lambda x, sigma: sigma * (x - mean) / (std**2 + sigma**2)
        d = slope(x_hat, hat)
        euler = x_hat + (0.6 * sigma - hat) * d
        expected = x_hat + (0.6 * sigma - hat) * (d + slope(euler, 0.6 * sigma)) / 2
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["DDPM", "EDMStochastic"])
def test_a_sample_is_the_same_in_any_batch(name):
    """Fails if noise is drawn for the batch instead of the example."""
    oracle = oracles.Gaussian(COSINE, mean=jnp.zeros(2), std=0.4)
    times, solver = Uniform()(COSINE, 5), getattr(solvers, name)(COSINE)

    def run(keys):
        x = prior(COSINE, keys, jnp.zeros((len(keys), 2)), times[0])
        return sample(solver, oracle, x, times, {}, keys)

    np.testing.assert_allclose(run(keys_of(8))[5], run(keys_of(8)[5:6])[0], atol=1e-6)


def test_the_trajectory_starts_at_the_noise_and_ends_at_the_sample():
    oracle = oracles.Gaussian(COSINE, mean=jnp.zeros(2), std=0.4)
    keys, times = keys_of(3), Uniform()(COSINE, 4)
    x = prior(COSINE, keys, jnp.zeros((3, 2)), times[0])
    path = trajectory(solvers.DDPM(COSINE), oracle, x, times, {}, keys)
    assert path.shape == (5, 3, 2)
    np.testing.assert_array_equal(path[0], x)
    np.testing.assert_array_equal(
        path[-1], sample(solvers.DDPM(COSINE), oracle, x, times, {}, keys)
    )


def test_the_mixture_s_noise_is_its_score():
    """noise = -sigma·∇log p_t: fails if responsibilities or posterior means are wrong."""
    with jax.enable_x64(True):
        oracle = oracles.GaussianMixture(
            COSINE,
            jnp.array([0.3, 0.7]),
            jnp.array([[1.0, 0.0], [-0.5, 0.8]]),
            jnp.array([0.3, 0.6]),
        )
        x, t = jax.random.normal(jax.random.key(0), (6, 2)), jnp.linspace(0.1, 0.9, 6)
        score = jax.grad(lambda x: oracle.log_density(x, t).sum())(x)
        prediction = oracle(x, t, {})
        np.testing.assert_allclose(
            prediction.noise, -COSINE.schedule.sigma(t)[:, None] * score, rtol=1e-10
        )
        np.testing.assert_allclose(COSINE.perturb(prediction, t), x, rtol=1e-10)


def test_the_gaussian_s_flow_is_its_ode_s_solution():
    """d flow/ds at s = t equals the probability-flow velocity."""
    with jax.enable_x64(True):
        oracle = oracles.Gaussian(COSINE, mean=jnp.array([0.5]), std=0.4)
        x, t = jnp.array([[0.3], [-0.8]]), jnp.array([0.3, 0.6])
        p = oracle(x, t, {})
        slope = jax.jvp(lambda s: oracle.flow(x, t, s), (t,), (jnp.ones(2),))[1]
        np.testing.assert_allclose(slope, COSINE.read(velocity, p, t), rtol=1e-8)


def two_gaussians(x, t, cond):
    """N(1, 0.5²) where the label is kept, N(0, 1) where it is dropped."""
    a = oracles.Gaussian(COSINE, jnp.ones(1), 0.5)(x, t, cond)
    b = oracles.Gaussian(COSINE, jnp.zeros(1), 1.0)(x, t, cond)
    kept = cond["label"].keep[:, None]
    return Prediction(*(jnp.where(kept, u, v) for u, v in zip(a[:2], b[:2], strict=True)))


def test_guidance_of_two_gaussians_is_their_extrapolation():
    """Fails if the scale counts from 0 (1 + w) or the halves are swapped."""
    x, t = jnp.linspace(-1.0, 1.0, 5)[:, None], jnp.full(5, 0.4)
    label, keep = jnp.zeros(5, int), jnp.ones(5, bool)
    conditional = two_gaussians(x, t, {"label": Condition(label, keep=keep)})
    unconditional = two_gaussians(x, t, {"label": Condition(label, keep=~keep)})
    guided = classifier_free(two_gaussians, 3.0)(x, t, {"label": label})
    for g, c, u in zip(guided[:2], conditional[:2], unconditional[:2], strict=True):
        np.testing.assert_allclose(g, u + 3.0 * (c - u), rtol=1e-6)
    np.testing.assert_allclose(COSINE.perturb(guided, t), x, atol=1e-6)


def test_guidance_without_a_condition_is_refused():
    with pytest.raises(ValueError, match="needs a condition"):
        classifier_free(two_gaussians, 3.0)(jnp.zeros((1, 1)), jnp.zeros(1), {})


def test_each_frame_follows_its_own_grid():
    """As if it were alone; fails if frames share a time, or a frame at rest moves."""
    oracle = oracles.Gaussian(COSINE, mean=jnp.array([0.5]), std=0.4)

    def frames(x, t, cond):
        alone = [oracle(x[:, i], t[:, i], cond) for i in range(x.shape[1])]
        return Prediction(
            *(jnp.stack(part, axis=1) for part in zip(*(p[:2] for p in alone), strict=True))
        )

    x = jax.random.normal(jax.random.key(0), (4, 3, 1))
    keys = random.example_keys(jax.random.key(1), jnp.arange(4))
    grids = [jnp.linspace(0.9, 0.0, 9), jnp.linspace(0.6, 0.1, 9), jnp.full(9, 0.3)]
    times = jnp.stack(grids, axis=1)
    with pytest.raises(ValueError, match="remembers the times of earlier steps"):
        sample(DPMpp2M(COSINE), frames, x, times, {}, keys)
    for solver in (DDIM(COSINE), Heun(COSINE)):
        found = sample(solver, frames, x, times, {}, keys)
        for i, grid in enumerate(grids[:2]):
            expected = sample(solver, oracle, x[:, i], grid, {}, keys)
            np.testing.assert_allclose(found[:, i], expected, atol=1e-5)
        np.testing.assert_allclose(found[:, 2], x[:, 2], atol=1e-5)
