"""Classifier guidance and inverse problems against exact posteriors; RePaint."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.diffusion import guidance, inverse, oracles
from jaxdiff.diffusion.inverse.known_pixels import latent_mask
from jaxdiff.diffusion.inverse.operators import AveragePooling, Blur, Inpainting
from jaxdiff.diffusion.sampling import prior, sample
from jaxdiff.diffusion.solvers import DDIM, DDPM, Heun
from jaxdiff.diffusion.timesteps import Uniform
from jaxdiff.typing import Prediction, Span
from tests.support.gaussians import COSINE, EDM, STD, B, equal, gaussian, given, of_label, pair

MASK = np.array([True, False, True])


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("process", [COSINE, EDM])
def test_a_linear_gaussian_classifier_gives_the_exact_posterior(process):
    """p(y | x_t) of y = b·x0 + N(0, s²); fails if sigma is missing or the sign is wrong."""
    x, t, _ = given()
    b, s, y = jnp.array([0.5, -1.0, 2.0]), 0.3, 0.7
    mean = jnp.full_like(x, 0.2)

    def log_probability(x, t, cond):
        alpha, sigma = process.at(t, x)
        posterior = (STD * sigma) ** 2 / ((STD * alpha) ** 2 + sigma**2)
        predicted = gaussian(process, x, t, mean, STD).x0 @ b
        return -0.5 * (y - predicted) ** 2 / (posterior[:, 0] * (b @ b) + s**2)

    denoiser = lambda x, t, cond: gaussian(process, x, t, mean, STD)
    guided = jax.jit(guidance.ClassifierGuidance(process, log_probability)(denoiser))(x, t, {})
    for i in range(B):
        alpha, sigma = process.schedule.alpha(t[i]), process.schedule.sigma(t[i])
        precision = jnp.eye(3) * (STD**-2 + (alpha / sigma) ** 2) + jnp.outer(b, b) / s**2
        information = mean[i] / STD**2 + alpha * x[i] / sigma**2 + b * y / s**2
        np.testing.assert_allclose(
            guided.x0[i], jnp.linalg.solve(precision, information), rtol=1e-8
        )


A = np.array([[1.0, 0.5, -0.3], [0.0, 2.0, 0.7]])


@pytest.mark.parametrize("noise_std", [0.2, 1e-3])
@pytest.mark.parametrize("process", [COSINE, EDM])
def test_pigdm_of_gaussian_data_is_the_exact_posterior_mean(process, noise_std):
    """Fails if r² is not the posterior variance, the residual's sign flips, or A meets A for Aᵀ."""
    x, t, _ = given()
    mean, y = jnp.full_like(x, 0.2), np.array([[0.3, -0.6]])
    guided = inverse.PiGDM(
        process, lambda z: z @ A.T, jnp.asarray(y), noise_std=noise_std, data_std=STD
    )(lambda x, t, cond: gaussian(process, x, t, mean, STD))(x, t, {})
    for i in range(B):
        alpha, sigma = process.schedule.alpha(t[i]), process.schedule.sigma(t[i])
        precision = jnp.eye(3) * (STD**-2 + (alpha / sigma) ** 2) + A.T @ A / noise_std**2
        information = mean[i] / STD**2 + alpha * x[i] / sigma**2 + A.T @ y[0] / noise_std**2
        np.testing.assert_allclose(
            guided.x0[i], jnp.linalg.solve(precision, information), rtol=1e-5
        )


def test_pigdm_of_gaussian_data_is_as_exact_as_the_solver_from_pure_noise():
    """Heun's order is 2; fails with 1 if the likelihood has no part in the step from alpha = 0."""
    noise_std, y = 0.3, 1.0
    denoiser = lambda x, t, cond: gaussian(COSINE, x, t, jnp.full_like(x, 0.2), STD)
    measured, unknown = Inpainting(np.array([True, False])), np.array([[y, 9.0]])
    guided = inverse.PiGDM(COSINE, measured, unknown, noise_std, data_std=STD)(denoiser)
    x, keys = jnp.array([[1.5, 0.4], [-0.3, -1.0]]), jax.random.split(jax.random.key(0), 2)
    solve = jax.jit(lambda times: sample(Heun(COSINE), guided, x, times, {}, keys))
    variance = 1 / (STD**-2 + noise_std**-2)
    means = np.array([variance * (0.2 / STD**2 + y / noise_std**2), 0.2])
    exact = means + np.array([variance**0.5, STD]) * x
    coarse, fine = (np.abs(solve(Uniform()(COSINE, n)) - exact).max() for n in (32, 64))
    assert np.log2(coarse / fine) > 1.9


def test_likelihoods_at_alpha_zero_have_their_limit():
    """By classifier and by loss; fails if x0 does not move, or a network's error is multiplied."""
    x, t = jnp.linspace(-2, 2, 4)[:, None] * jnp.array([1.0, -0.5]), jnp.ones(4)
    weights, means = jnp.array([0.3, 0.7]), jnp.array([[-1.0, 0.5], [1.2, -0.3]])
    stds = jnp.array([0.4, 0.6])
    mixture = oracles.GaussianMixture(COSINE, weights, means, stds)
    first = oracles.GaussianMixture(COSINE, jnp.ones(1), means[:1], stds[:1])
    joint = lambda x, t: jnp.log(weights[0]) + first.log_density(x, t)
    log_probability = lambda x, t, cond: joint(x, t) - mixture.log_density(x, t)
    guided = guidance.ClassifierGuidance(COSINE, log_probability)(mixture)
    equal(jax.jit(guided)(x, t, {}), first(x, t, {}), rtol=1e-6)

    slope = jnp.array([1.0, -2.0])
    exact = lambda x, t, cond: gaussian(COSINE, x, t, jnp.full_like(x, 0.2), STD)
    leaking = lambda x, t, cond: exact(x, t, cond)._replace(x0=exact(x, t, cond).x0 + 0.1 * x)
    for denoiser in (exact, leaking):
        prediction = denoiser(x, t, {})
        guided = guidance.LossGuidance(COSINE, lambda x0: x0 @ slope, 0.5)(denoiser)
        moved = prediction._replace(x0=prediction.x0 - 0.5 * STD**2 * slope)
        equal(jax.jit(guided)(x, t, {}), moved, rtol=1e-6)


def test_pigdm_meets_a_noiseless_measurement():
    """Super-resolution, deblurring, inpainting; fails without the pseudo-inverse."""
    rng = np.random.default_rng(1)
    x, t = jnp.asarray(rng.normal(size=(2, 4, 4, 2))), jnp.array([0.3, 0.8])
    denoiser = lambda x, t, cond: gaussian(COSINE, x, t, jnp.zeros_like(x), STD)
    truth = jnp.asarray(rng.normal(size=(2, 4, 4, 2)))
    mask = rng.random((4, 4, 1)) < 0.5
    kernel = jnp.array([[0.0, 0.1, 0.0], [0.1, 0.6, 0.1], [0.0, 0.1, 0.0]])
    for operator in (AveragePooling(2), Blur(kernel)):
        y = operator(truth)
        guided = inverse.PiGDM(COSINE, operator, y, data_std=STD)(denoiser)
        x0 = jax.jit(guided)(x, t, {}).x0
        np.testing.assert_allclose(operator(x0), y, atol=1e-4)
    # What was not measured may hold anything: only the mask's pixels count.
    guided = inverse.PiGDM(COSINE, Inpainting(mask), truth, data_std=STD)(denoiser)
    whole = jax.jit(guided)(x, t, {}).x0
    np.testing.assert_allclose(jnp.where(mask, whole - truth, 0), 0, atol=1e-6)


def test_operators():
    """Fails if pooling sums or interleaves, a blur shifts, or channels mix."""
    x = jnp.arange(32.0).reshape(1, 4, 4, 2)
    np.testing.assert_allclose(AveragePooling(2)(x)[0, 0, 1], [9.0, 10.0])
    kernel = jnp.zeros((3, 3)).at[1, 2].set(1.0)
    np.testing.assert_allclose(Blur(kernel)(x)[:, :, :-1], x[:, :, 1:])
    with pytest.raises(ValueError, match="factor=3 does not divide 4x4"):
        AveragePooling(3)(x)


def test_dps_follows_the_gradient_through_the_denoiser():
    """-∇‖r‖²/‖r‖ by differences; fails without the derivative of x0, or the norm's square root."""
    x, t, _ = given()
    alpha, sigma = COSINE.at(t, x)
    x0_of = lambda x: jnp.tanh(x @ A.T @ A)
    denoiser = lambda x, t, cond: Prediction(x0_of(x), (x - alpha * x0_of(x)) / sigma)
    operator, y = lambda x0: jnp.tanh(x0 @ A.T), jnp.array([[0.3, -0.6]])
    squared = lambda x: ((y - operator(x0_of(x))) ** 2).sum(1)
    step = 1e-5
    slopes = [(squared(x + step * e) - squared(x - step * e)) / (2 * step) for e in jnp.eye(3)]
    gradient = -1.5 * jnp.stack(slopes, 1) / jnp.sqrt(squared(x))[:, None]
    guided = jax.jit(inverse.DPS(COSINE, operator, y, scale=1.5)(denoiser))(x, t, {})
    expected = denoiser(x, t, {}).noise - sigma * gradient
    np.testing.assert_allclose(guided.noise, expected, rtol=1e-6, atol=1e-8)


def test_dps_leaves_what_fits_alone():
    """Fails if the slope of the norm at zero is a NaN."""
    x, t, cond = given()
    fits = of_label(x, t, cond).x0
    equal(jax.jit(inverse.DPS(COSINE, lambda x0: x0, fits)(of_label))(x, t, cond), pair()[0])


def test_known_pixels_end_up_as_they_are():
    """Fails if the mask is inverted, or the noise is not that of the known pixels."""
    known, times = jnp.array([[0.4, 9.0, -0.3]]), Uniform()(COSINE, 10)
    _, _, cond = given()
    keys = random.example_keys(jax.random.key(0), jnp.arange(B))
    x = prior(COSINE, keys, jnp.zeros((B, 3)), times[0])
    guided = inverse.KnownPixels(COSINE, MASK, known)(of_label)
    x = sample(DDIM(COSINE), guided, x, times, cond, keys)
    np.testing.assert_allclose(x[:, MASK], np.broadcast_to([0.4, -0.3], (B, 2)), atol=1e-9)
    assert bool((jnp.abs(x[:, 1] - 9.0) > 1).all())


@pytest.mark.slow
def test_repaint_harmonises_what_it_paints_with_what_is_known():
    """Fails if steps are not taken again, or the known pixels are not those of time s."""
    # Two far clusters, (1, 1) and (-1, -1), of which the first coordinate is known to be 1.
    mixture = oracles.GaussianMixture(
        COSINE, jnp.full(2, 0.5), jnp.array([[1.0, 1.0], [-1.0, -1.0]]), jnp.full(2, 0.2)
    )
    keys, times = random.example_keys(jax.random.key(0), jnp.arange(128)), Uniform()(COSINE, 10)
    mask, known = np.array([True, False]), jnp.array([1.0, 0.0])
    x = prior(COSINE, keys, jnp.zeros((128, 2)), times[0])
    draw = jax.jit(
        functools.partial(sample, inverse.RePaint(COSINE, DDPM(COSINE), mask, known, 4), mixture)
    )
    painted = draw(x, times, {}, keys)
    others = draw(x[::-1].at[7].set(x[7]), times, {}, keys[::-1].at[7].set(keys[7]))
    np.testing.assert_allclose(others[7], painted[7], atol=1e-9)
    np.testing.assert_array_equal(painted[:, 0], 1.0)
    assert (painted[:, 1] > 0).mean() > 0.98  # 0.95 if each step is taken once
    np.testing.assert_allclose(painted[painted[:, 1] > 0, 1].mean(), 1.0, atol=0.05)


@pytest.mark.slow
def test_going_back_and_forth_leaves_the_distribution():
    """An exact step from p_t to p_s, thrice; fails if going back adds the wrong noise."""
    oracle = oracles.Gaussian(COSINE, jnp.array([0.7]), 0.4)

    class Exact:
        init = lambda self, x: ()
        step = lambda self, denoiser, x, span, cond, history: (oracle.flow(x, span.t, span.s), ())

    b, keys = 4096, random.example_keys(jax.random.key(0), jnp.arange(4096))
    span = Span(jnp.full(b, 0.6), jnp.full(b, 0.5), keys, 10)
    spread = lambda t: (
        (COSINE.schedule.alpha(t) ** 2 * 0.4**2 + COSINE.schedule.sigma(t) ** 2) ** 0.5
    )
    noise = jax.random.normal(jax.random.key(1), (b, 1))
    x = COSINE.schedule.alpha(span.t)[:, None] * 0.7 + spread(span.t)[:, None] * noise
    solver = inverse.RePaint(COSINE, Exact(), np.zeros(1, bool), jnp.zeros(1), resamples=3)
    x, _ = solver.step(oracle, x, span, {}, ())
    np.testing.assert_allclose(x.mean(), COSINE.schedule.alpha(jnp.array(0.5)) * 0.7, atol=0.03)
    np.testing.assert_allclose(x.std(), spread(jnp.array(0.5)), rtol=0.03)


def test_latents_of_a_clip_are_known_where_their_frames_are():
    """Fails if frames are divided otherwise than codecs that are causal in time do it."""
    mask = np.zeros((1, 9, 8, 8, 1), bool)
    mask[:, 0] = mask[:, 5:] = True
    mask[:, 1:5, :4] = True
    found = latent_mask(mask, (3, 4, 4, 6))
    assert found.shape == (1, 3, 4, 4, 1)
    np.testing.assert_array_equal(found[0, :, :, 0, 0], [[1] * 4, [1, 1, 0, 0], [1] * 4])
    alone = latent_mask(mask[:, :1], (1, 4, 4, 6))
    np.testing.assert_array_equal(alone, found[:, :1])
    each = latent_mask(mask, (9, 8, 8, 6))
    np.testing.assert_array_equal(each, mask)
    for shape in ((4, 4, 4, 6), (1, 4, 4, 6), (3, 3, 4, 6), (4, 4, 6)):
        with pytest.raises(ValueError, match="whole multiples"):
            latent_mask(mask, shape)
