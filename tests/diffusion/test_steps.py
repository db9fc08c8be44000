"""Single steps of solvers against their papers' formulas: what no order of convergence tells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.config.build import build
from jaxdiff.diffusion import oracles, schedules, solvers
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import sample, trajectory
from jaxdiff.diffusion.solvers.multistep import EVEN
from jaxdiff.typing import Prediction, Span

COSINE = Process(schedules.Cosine())
EDM = Process(schedules.EDM(sigma_max=1.0))  # sigma is t


def keys_of(n):
    return random.example_keys(jax.random.key(0), jnp.arange(n))


def step_of(spec, denoiser, x, t, s, process=COSINE):
    """Returns one step from t to s, and the keys of its noise."""
    solver, keys = build(solvers, spec, process=process), keys_of(len(x))
    at = lambda time: jnp.full(len(x), time)
    run = lambda x: solver.step(denoiser, x, Span(at(t), at(s), keys, 10), {}, solver.init(x))[0]
    return jax.jit(run)(x), keys


@pytest.mark.parametrize(
    "spec",
    [
        "DDIM(eta=0.5)",
        "Ancestral(solver=Heun(), eta=0.5)",
        "SASolver(tau=0.5)",
        "DPMppSDE(tau=0.5)",
    ],
)
def test_one_long_step_keeps_the_distribution_of_a_point(spec):
    """Exactly, whatever share of the noise is renewed; fails if that share has another power."""
    point = oracles.Gaussian(COSINE, mean=jnp.array([0.7]), std=0.0)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (
        (float(COSINE.schedule.alpha(t)), float(COSINE.schedule.sigma(t)))
        for t in (jnp.float32(0.8), jnp.float32(0.4))
    )
    n = 2**15
    x = alpha_t * 0.7 + sigma_t * jax.random.normal(jax.random.key(1), (n, 1))
    x_s, _ = step_of(spec, point, x, 0.8, 0.4)
    kept = np.corrcoef(x[:, 0], x_s[:, 0])[0, 1]
    assert 0.2 < kept < 0.95
    np.testing.assert_allclose(x_s.mean(), alpha_s * 0.7, atol=4 * sigma_s / n**0.5)
    np.testing.assert_allclose(x_s.std(), sigma_s, rtol=4 / (2 * n) ** 0.5)


@pytest.mark.parametrize("variance", ["small", "large", "learned"])
def test_the_variance_of_an_ancestral_step_is_the_papers(variance):
    """Of Ho et al. (2020, eq. 7); fails if the two, or the shares of them, are exchanged."""
    oracle = oracles.Gaussian(COSINE, mean=jnp.array([0.5]), std=0.4)
    learned = lambda x, t, cond: oracle(x, t, cond)._replace(variance=jnp.full_like(x, 0.3))
    x = jnp.array([[0.3], [-1.0]])
    x_s, keys = step_of(f"DDPM(variance={variance!r})", learned, x, 0.6, 0.5)
    before, now = np.cos(0.25 * np.pi) ** 2, np.cos(0.3 * np.pi) ** 2
    beta = 1 - now / before
    posterior = beta * (1 - before) / (1 - now)
    expected = {"small": posterior, "large": beta, "learned": beta**0.3 * posterior**0.7}[variance]
    x0 = oracle(x, jnp.full(2, 0.6), {}).x0
    # Of eq. 7 too.
    mean = np.sqrt(before) * beta * x0 + np.sqrt(now / before) * (1 - before) * x
    mean /= 1 - now
    noise = random.normal(keys, x)
    np.testing.assert_allclose(x_s, mean + np.sqrt(expected) * noise, rtol=1e-4)


@pytest.mark.parametrize("share", [-0.2, 0.0, 1.1])
def test_the_last_ancestral_step_ends_at_the_data_for_any_share(share):
    """Fails if a network whose share of the variance is below 0 divides by that of the data."""
    oracle = oracles.Gaussian(COSINE, mean=jnp.array([0.5]), std=0.4)
    learned = lambda x, t, cond: oracle(x, t, cond)._replace(variance=jnp.full_like(x, share))
    x = jnp.array([[0.3], [-1.0]])
    x_s, _ = step_of("DDPM(variance='learned')", learned, x, 0.2, 0.0)
    np.testing.assert_allclose(x_s, oracle(x, jnp.full(2, 0.2), {}).x0, rtol=1e-5)


@pytest.mark.parametrize("tau", [0.0, 0.7])
def test_data_that_are_linear_in_lambda_are_integrated_exactly(tau):
    """By two x0 and a corrector, with noise; fails if a step's mean is weighted otherwise."""
    with jax.enable_x64(True):
        solver, ends = solvers.SASolver(COSINE, 2, 2, tau), (-0.5, 1.8)
        times, keys = COSINE.time(2 * jnp.array([ends[0], 0.0, 0.8, ends[1]])), keys_of(1)

        def end(slope):
            def denoiser(x, t, cond):
                x0 = slope * COSINE.logsnr(t)[:, None] / 2 * jnp.ones_like(x)
                return Prediction(x0, jnp.full_like(x, jnp.nan))

            return sample(solver, denoiser, jnp.ones((1, 1)), times, {}, keys)[0, 0]

        grid = np.linspace(*ends, 20_001)
        integrand = (1 + tau**2) * np.exp(-(tau**2) * (ends[1] - grid) + grid) * grid
        expected = COSINE.schedule.sigma(times[-1]) * np.trapezoid(integrand, grid)
        # The same noise in both.
        difference = jax.jit(lambda: end(1.0) - end(0.0))()
        np.testing.assert_allclose(difference, expected, rtol=1e-6)


@pytest.mark.parametrize("spec", ["Heun", "Midpoint", "PLMS"])
def test_noise_that_is_linear_in_sigma_is_integrated_exactly(spec):
    """Fails if a midpoint is in another coordinate, or PLMS begins with a step of Euler's."""
    denoiser = lambda x, t, cond: Prediction(x - t[:, None] ** 2, t[:, None] * jnp.ones_like(x))
    x = jnp.array([[0.3]])
    x_s, _ = step_of(spec, denoiser, x, 0.9, 0.3, EDM)
    np.testing.assert_allclose(x_s, x + (0.3**2 - 0.9**2) / 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "noise", "integral"),
    [
        ("LMS", lambda sigma: sigma, lambda sigma: sigma**2 / 2),
        ("DEIS", lambda sigma: -jnp.log(sigma), lambda sigma: sigma - sigma * np.log(sigma)),
    ],
)
def test_two_noises_make_a_line_in_the_method_s_coordinate(name, noise, integral):
    """Integrated exactly in the second step, uneven; fails if DEIS forgets the weight e^-λ."""
    solver, times = build(solvers, f"{name}(order=2)", process=EDM), jnp.array([0.9, 0.7, 0.2])
    denoiser = lambda x, t, cond: Prediction(
        x - (t * noise(t))[:, None], noise(t)[:, None] * jnp.ones_like(x)
    )
    run = lambda x: trajectory(solver, denoiser, x, times, {}, keys_of(1))[:, 0, 0]
    _, middle, end = jax.jit(run)(jnp.ones((1, 1)))
    np.testing.assert_allclose(end - middle, integral(0.2) - integral(0.7), rtol=1e-4)


def test_pndm_begins_with_runge_kutta():
    """Four noises, weighted 1, 2, 2, 1, with the middle in λ (Liu et al. 2022)."""
    oracle = oracles.Gaussian(EDM, mean=jnp.array([0.5]), std=0.4)
    x, t, s = 1.3, 0.9, 0.3
    x_s, _ = step_of("PNDM", oracle, jnp.array([[x]]), t, s, EDM)
    noise = lambda x, t: t * (x - 0.5) / (0.4**2 + t**2)
    middle = np.sqrt(t * s)
    k1 = noise(x, t)
    k2 = noise(x + (middle - t) * k1, middle)
    k3 = noise(x + (middle - t) * k2, middle)
    k4 = noise(x + (s - t) * k3, s)
    expected = x + (s - t) * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    np.testing.assert_allclose(x_s[0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("row", EVEN, ids=len)
def test_even_weights_integrate_polynomials(row):
    """From 0 to 1, through values at 0, -1, ...; fails if a coefficient is mistyped."""
    for power in range(len(row)):
        total = sum(w * (-float(i)) ** power for i, w in enumerate(row))
        np.testing.assert_allclose(total, 1 / (power + 1), rtol=1e-12)


def test_langevin_steps_have_their_size():
    """2·(snr·sigma)², step_size·sigma²; fails for others, which draw the Gaussian all the same."""
    oracle = oracles.Gaussian(EDM, mean=jnp.array([0.5]), std=0.4)
    x = jnp.array([[1.3], [-0.2]])

    def walked(x, t, size, keys):
        z = random.normal(random.fold_in(random.stream(keys, "langevin"), 0), x)
        score = -(x - 0.5) / (0.4**2 + t**2)
        return x + size / 2 * score + np.sqrt(size) * z

    found, keys = step_of(
        "PredictorCorrector(predictor=Euler(), snr=0.3)", oracle, x, 0.9, 0.6, EDM
    )
    predicted, _ = step_of("Euler", oracle, x, 0.9, 0.6, EDM)
    expected = walked(predicted, 0.6, 2 * (0.3 * 0.6) ** 2, keys)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    spec = "AnnealedLangevin(steps_per_level=1, step_size=0.1)"
    found, keys = step_of(spec, oracle, x, 0.9, 0.6, EDM)
    np.testing.assert_allclose(found, walked(x, 0.9, 0.1 * 0.9**2, keys), rtol=1e-5)


@pytest.mark.parametrize("name", ["Cosine", "RectifiedFlow", "EDM", "VarianceExploding", "SubVP"])
def test_without_churn_the_stochastic_solver_is_heun_s(name):
    """To the bit; fails if noise of the size of a rounding error's root is added."""
    process = Process(build(schedules, name))
    oracle = oracles.Gaussian(process, mean=jnp.array([0.7]), std=0.5)
    x = jax.random.normal(jax.random.key(1), (8, 1))
    for t, s in ((0.9, 0.7), (0.5, 0.3), (0.2, 0.0)):
        found, _ = step_of("EDMStochastic(s_churn=0.0)", oracle, x, t, s, process)
        expected, _ = step_of("Heun", oracle, x, t, s, process)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
