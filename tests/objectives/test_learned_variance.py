"""The hybrid loss: its terms in closed form, its gradients, and the network's two outputs."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxdiff import objectives, random
from jaxdiff.config.build import build
from jaxdiff.diffusion import parameterizations, schedules, weighting
from jaxdiff.diffusion.process import Process
from jaxdiff.tasks.model import Model
from jaxdiff.typing import Draw, Prediction, Roles, Times

STEPS = 20
PROCESS = Process(schedules.Tabulated(schedules.linear_betas(STEPS, 0.01, 0.4)))


def objective(**options):
    return build(
        objectives,
        {"name": "LearnedVariance", "steps": STEPS, **options},
        process=PROCESS,
        parameterization=parameterizations.noise,
        # The stratified numbers are the times.
        time_sampling=lambda process, draw: Times(
            draw.stratified_u, jnp.ones_like(draw.stratified_u)
        ),
        weighting=weighting.Simple(),
    )


def run(student, index, x0, **options):
    """Returns the loss and the metrics of examples at the times of these steps."""
    keys = random.example_keys(jax.random.key(0), jnp.arange(len(x0)))
    draw = Draw(keys, jnp.asarray(index) / STEPS)
    return objective(**options)(Roles(student, student), x0, {}, draw, jnp.zeros((), int))


def student_of(x0_hat, share):
    """Says that x0 is `x0_hat(x, alpha, sigma)`, and its variance's share."""

    def student(x, t, cond):
        alpha, sigma = PROCESS.at(t, x)
        x0 = x0_hat(x, alpha, sigma)
        return Prediction(x0, (x - alpha * x0) / sigma, jnp.broadcast_to(share, x.shape))

    return student


def betas(index):
    """Returns beta and the posterior's beta of Ho et al. (2020, eq. 7)."""
    beta = np.array(PROCESS.schedule.betas)
    product = np.concatenate([[1.0], np.cumprod(1 - beta)])
    return beta[index - 1], beta[index - 1] * (1 - product[index - 1]) / (1 - product[index])


def before(index):
    """Returns the product of 1 - beta up to the step before."""
    return np.array([np.prod(1 - np.array(PROCESS.schedule.betas)[: i - 1]) for i in index])


def test_steps_are_the_divergence_of_two_normals():
    """Fails if the bounds are exchanged or shifted by a step, or the means' difference is off."""
    index = np.array([2, 7, STEPS])
    beta, posterior = betas(index)
    x0 = jnp.asarray(np.linspace(-1.0, 1.0, 9, dtype=np.float32).reshape(3, 3))
    _, metrics = run(student_of(lambda x, a, s: x0 + 0.1, 0.3), index, x0)
    variance = beta**0.3 * posterior**0.7
    difference = 0.1 * np.sqrt(before(index)) * beta / (1 - before(index) * (1 - beta))
    divergence = 0.5 * (np.log(variance / posterior) - 1 + (posterior + difference**2) / variance)
    np.testing.assert_allclose(metrics["bound"], STEPS * divergence / np.log(2), rtol=1e-4)


def test_last_step_is_the_probability_of_the_levels():
    """Fails if the last step's variance is not between beta_1 and the second posterior's."""
    levels, share = 5, 0.4
    x0 = jnp.array([[-1.0, -0.5, 0.0], [0.5, 1.0, 1.0], [0.0, 0.5, -1.0]])
    _, metrics = run(student_of(lambda x, a, s: x0 * 0 + 0.8, share), [1, 1, 1], x0, levels=levels)
    std = np.sqrt(betas(1)[0] ** share * betas(2)[1] ** (1 - share))
    edges = np.array([-np.inf, -0.75, -0.25, 0.25, 0.75, np.inf])
    bin_of = np.round((np.asarray(x0) + 1) * 2).astype(int)
    low, high = (edges[bin_of] - 0.8) / std, (edges[bin_of + 1] - 0.8) / std
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    nats = -norm.logcdf(high) - np.log1p(-np.exp(norm.logcdf(low) - norm.logcdf(high)))
    expected = STEPS * nats.mean(axis=1) / np.log(2)
    np.testing.assert_allclose(metrics["bound"], expected, rtol=1e-3)
    _, metrics = run(student_of(lambda x, a, s: x0 * 0 + 0.8, share), [1, 1, 1], x0, levels=None)
    expected = -STEPS * norm.logpdf(x0, 0.8, std).mean(axis=1) / np.log(2)
    np.testing.assert_allclose(metrics["bound"], expected, rtol=1e-4)


def test_the_best_share_is_the_reverse_processs_variance():
    """For normal data x_s given x_t is normal: fails if the mean's error has a wrong factor."""
    data_std, index = 0.5, np.array([1, 4, STEPS])
    x0 = data_std * jax.random.normal(jax.random.key(1), (3 * 2000, 20))

    def mean_of(x, alpha, sigma):
        return alpha * data_std**2 * x / ((alpha * data_std) ** 2 + sigma**2)

    @jax.jit
    @jax.vmap
    def bound(share):
        student = student_of(mean_of, share)
        _, metrics = run(student, np.repeat(index, 2000), x0, levels=None)
        return metrics["bound"].reshape(3, 2000).mean(axis=1)

    shares = np.linspace(-1.0, 2.0, 101)
    bounds = np.asarray(bound(shares))
    best = shares[np.argmin(bounds, axis=0)]
    beta, posterior = betas(index)
    at_s, at_t = (p * data_std**2 + 1 - p for p in (before(index), before(index) * (1 - beta)))
    exact = at_s * beta / at_t  # Var(x_s) - Cov(x_s, x_t)²/Var(x_t)
    low = np.where(index == 1, betas(2)[1], posterior)
    np.testing.assert_allclose(beta**best * low ** (1 - best), exact, rtol=0.03)


def test_the_bound_trains_the_variance_alone():
    """Fails if the mean's gradient is not stopped, or the unused branch's slope is NaN far off."""
    index = np.array([1, 2, STEPS, 1, 2, STEPS])
    shift = jnp.asarray(np.float32([0.1, 0.1, 0.1, 10.0, 1e6, 1e6]))
    x0 = jnp.asarray(np.float32([[-1.0, 0.0, 1.0]] * 6))

    @jax.jit
    @jax.grad
    def slopes(options):
        shift, share = options
        student = student_of(lambda x, a, s: x0 + shift[:, None], share[:, None])
        return run(student, index, x0)[1]["bound"].sum()

    of_mean, of_share = slopes((shift, 0.5 + 0 * shift))
    np.testing.assert_array_equal(of_mean, 0)
    assert np.all(np.isfinite(of_share) & (of_share != 0))


def test_hybrid_is_the_denoising_loss_and_a_thousandth_of_the_bound():
    """Fails if either part is weighted otherwise."""
    x0 = jnp.asarray(np.linspace(-1.0, 1.0, 9, dtype=np.float32).reshape(3, 3))
    loss, metrics = run(student_of(lambda x, a, s: 0.5 * x, 0.3), [5, 5, 5], x0)
    expected = metrics["squared_error"] + 0.001 * metrics["bound"]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_a_model_of_twice_the_channels_predicts_a_variance():
    """Fails if the halves are exchanged, or the share is not (v + 1)/2."""
    apply = lambda variables, x, time, cond, keys: jnp.concatenate([2 * x, 0 * x + 0.5], axis=-1)
    model = Model(
        network=SimpleNamespace(apply=apply),
        process=PROCESS,
        parameterization=parameterizations.x0,
        input_scaling=lambda process, x, t: x,
        time_input=lambda process, t: t,
    )
    x, t = jnp.ones((2, 4, 3)), jnp.full(2, 0.5)
    prediction = model.bind({"network": {}})(x, t, {})
    np.testing.assert_allclose(prediction.x0, 2.0)
    np.testing.assert_allclose(prediction.variance, jnp.full_like(x, 0.75))
    half = SimpleNamespace(apply=lambda *args: 2 * args[1])
    one = Model(half, PROCESS, parameterizations.x0, model.input_scaling, model.time_input)
    assert one.bind({"network": {}})(x, t, {}).variance is None


def test_mistakes_are_named():
    silent = lambda x, t, cond: Prediction(x, x)
    with pytest.raises(ValueError, match=r"no variance; set network.out_channels to 6"):
        run(silent, [2], jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match="steps is 1"):
        objective(steps=1)
    with pytest.raises(ValueError, match="levels is 1"):
        objective(levels=1)
