"""The 2×2 algebra, schedules, training times and weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.config.build import build
from jaxdiff.diffusion import parameterizations, schedules, time_sampling, weighting
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Draw, Prediction

SCHEDULES = ["LinearBeta", "Cosine", "RectifiedFlow", "VarianceExploding", "EDM", "Tabulated"]
PARAMETERIZATIONS = ["x0", "noise", "score", "v", "velocity", "edm", "flow_x0"]
T = jnp.array([0.05, 0.2, 0.5, 0.8, 0.95])


def process_of(name):
    return Process(build(schedules, name + "()"))


def truth(shape=(5, 3)):
    x0, noise = jax.random.normal(jax.random.key(0), (2, *shape))
    return Prediction(x0, noise)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_read_then_solve_is_the_identity(schedule, parameterization):
    """Fails if either row of the solve, the determinant or a row's sign is wrong."""
    with jax.enable_x64(True):
        process = process_of(schedule)
        row = build(
            parameterizations, parameterization + ("()" if parameterization == "edm" else "")
        )
        prediction, t = truth(), T.astype(float)
        x = process.perturb(prediction, t)
        solved = process.solve(row, process.read(row, prediction, t), x, t)
        np.testing.assert_allclose(solved.x0, prediction.x0, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(solved.noise, prediction.noise, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rows_equal_the_papers(schedule):
    """Each row against its paper's formula, the velocity against a finite difference."""
    with jax.enable_x64(True):
        process, t = process_of(schedule), T.astype(float) + 1e-4
        s, p = process.schedule, truth()
        alpha, sigma = process.at(t, p.x0)
        read = lambda name: process.read(build(parameterizations, name), p, t)
        np.testing.assert_allclose(read("score"), -p.noise / sigma)
        np.testing.assert_allclose(read("v"), alpha * p.noise - sigma * p.x0)
        h = 1e-6
        slope = (process.perturb(p, t + h) - process.perturb(p, t - h)) / (2 * h)
        np.testing.assert_allclose(read("velocity"), slope, rtol=1e-5, atol=1e-5)
        std = 0.7
        total = (alpha * std) ** 2 + sigma**2
        c_skip, c_out = alpha * std**2 / total, sigma * std / jnp.sqrt(total)
        f = (p.x0 - c_skip * process.perturb(p, t)) / c_out
        np.testing.assert_allclose(read(f"edm(data_std={std})"), f, rtol=1e-8)
        assert s.alpha(t).dtype == jnp.float64


def test_edm_row_is_minus_v_for_unit_data_on_a_variance_preserving_process():
    """Fails if the edm row loses a factor alpha."""
    cosine = schedules.Cosine()
    for mine, other in zip(
        parameterizations.edm(1.0)(cosine, T), parameterizations.v(cosine, T), strict=True
    ):
        np.testing.assert_allclose(mine, -other, rtol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_go_from_data_to_noise(name):
    """sigma is exactly 0 at t = 0, log-SNR falls, and `time` inverts it."""
    process = process_of(name)
    t = jnp.linspace(0.0, 1.0, 101)
    assert process.schedule.sigma(t)[0] == 0
    assert process.schedule.alpha(t)[0] == 1
    assert bool(jnp.all(jnp.diff(process.logsnr(t)) < 0))
    np.testing.assert_allclose(process.time(process.logsnr(t)), t, atol=2e-6)
    np.testing.assert_array_equal(process.time(jnp.array([-1e3, 1e3]))[0], 1.0)


@pytest.mark.parametrize("name", ["LinearBeta", "Cosine", "Tabulated"])
def test_variance_is_preserved(name):
    """alpha² + sigma² = 1 to float32's precision."""
    schedule = process_of(name).schedule
    t = jnp.linspace(0.0, 1.0, 1001)
    np.testing.assert_allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1, atol=3e-7)


def test_tabulated_equals_the_product_of_its_betas():
    """Step i stands at t = i/N: fails if the table is shifted by one."""
    betas = np.linspace(1e-4, 0.02, 1000)
    product = np.cumprod(1 - betas)
    schedule = schedules.Tabulated()
    t = jnp.array([1, 10, 500, 1000]) / 1000
    np.testing.assert_allclose(schedule.alpha(t) ** 2, product[[0, 9, 499, 999]], rtol=2e-5)


def test_linear_beta_is_the_continuum_of_the_ddpm_table():
    """beta(t) from 0.1 to 20 is 1,000 times the DDPM betas."""
    t = jnp.linspace(0.05, 1.0, 20)
    np.testing.assert_allclose(
        schedules.LinearBeta().alpha(t), schedules.Tabulated().alpha(t), rtol=0.05
    )


def test_check_names_the_time_that_carries_no_information():
    process = process_of("RectifiedFlow")
    with pytest.raises(ValueError, match=r"'noise' says nothing .* at t=1"):
        process.check(parameterizations.noise, jnp.array([0.5, 1.0]))
    with pytest.raises(ValueError, match="'x0' says nothing"):
        process.check(parameterizations.x0, jnp.array([0.0, 0.5]))
    process.check(parameterizations.velocity, jnp.array([0.0, 1.0]))


def draw_of(n):
    stratified_u = (0.3 + jnp.arange(n) / n) % 1
    return Draw(random.example_keys(jax.random.key(1), jnp.arange(n)), stratified_u)


def test_training_times_have_their_distributions():
    """Quantiles against closed forms; fails if a mean, a deviation or a sign is off."""
    draw, edm = draw_of(8192), process_of("EDM")
    uniform = time_sampling.Uniform(minimum=0.1)(edm, draw).t
    assert 0.1 < uniform.min() < 0.11
    assert 0.99 < uniform.max() <= 1
    discrete = time_sampling.Discrete(10)(edm, draw).t
    np.testing.assert_allclose(jnp.unique(jnp.round(discrete, 6)), jnp.arange(1, 11) / 10)
    t = time_sampling.LogitNormal(mean=0.5, std=2.0)(edm, draw).t
    logit = jnp.log(t) - jnp.log1p(-t)
    np.testing.assert_allclose([logit.mean(), logit.std()], [0.5, 2.0], atol=0.08)
    log_sigma = -edm.logsnr(time_sampling.EDMLogNormal()(edm, draw).t) / 2
    np.testing.assert_allclose([log_sigma.mean(), log_sigma.std()], [-1.2, 1.2], atol=0.05)


def test_stratified_times_fall_one_in_each_stratum():
    """Fails if strata use independent draws."""
    t = time_sampling.Stratified()(process_of("Cosine"), draw_of(64)).t
    np.testing.assert_array_equal(jnp.sort(jnp.floor(t * 64 - 1e-3)), jnp.arange(64))
    nested = build(time_sampling, "Stratified(of=LogitNormal(mean=1.0))")
    assert nested.of == time_sampling.LogitNormal(mean=1.0)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("kind", ["MinSNR", "EDM", "ELBO"])
def test_a_weighted_loss_is_the_same_in_every_parameterization(kind, name):
    """Fails if a weight forgets the determinant."""
    with jax.enable_x64(True):
        process, t = process_of("Cosine"), T.astype(float)
        weight = build(weighting, kind + "()")
        good, x = truth(), process.perturb(truth(), t)
        x0 = good.x0 + 0.1
        alpha, sigma = process.at(t, x)
        wrong = Prediction(x0, (x - alpha * x0) / sigma)

        def loss(row):
            error = process.read(row, wrong, t) - process.read(row, good, t)
            return weight(process, row, t) * jnp.sum(error**2, -1)

        row = build(parameterizations, name + ("()" if name == "edm" else ""))
        np.testing.assert_allclose(loss(row), loss(parameterizations.x0), rtol=1e-8)


def test_weights_equal_the_papers():
    """Min-SNR in noise is min(1, gamma/SNR); ELBO in noise is -½ dlogSNR/dt; EDM in F is one."""
    process = process_of("Cosine")
    snr = jnp.exp(process.logsnr(T))
    noise = parameterizations.noise
    np.testing.assert_allclose(
        weighting.MinSNR(5.0)(process, noise, T), jnp.minimum(snr, 5) / snr, rtol=1e-5
    )
    slope = -0.5 * jax.vmap(jax.grad(process.logsnr))(T)
    np.testing.assert_allclose(weighting.ELBO()(process, noise, T), slope, rtol=1e-4)
    np.testing.assert_allclose(
        weighting.EDM(0.5)(process, parameterizations.edm(0.5), T), 1, rtol=1e-6
    )
    edm, sigma = process_of("EDM"), 80.0 * T
    np.testing.assert_allclose(
        weighting.EDM(0.5)(edm, parameterizations.x0, T),
        (sigma**2 + 0.25) / (0.5 * sigma) ** 2,
        rtol=1e-5,
    )
