"""Losses with learned parts: the variational bound with its schedule, and the uncertainty."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdiff import objectives, random
from jaxdiff.diffusion import oracles, parameterizations, schedules, time_sampling, weighting
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives import Denoising, LearnedUncertainty, VariationalBound
from jaxdiff.typing import Draw, Prediction, Roles
from jaxdiff.weights import learned

SCHEDULE = schedules.Learned(highest=7.0, lowest=-8.0, features=8)
PROCESS = Process(SCHEDULE)
LEVELS = 5


def draw_of(n, seed=0):
    keys = random.example_keys(jax.random.key(seed), jnp.arange(n))
    return Draw(keys, (jax.random.uniform(jax.random.key(seed)) + jnp.arange(n) / n) % 1)


def exact(process, std=0.5):
    return oracles.Gaussian(process, mean=jnp.zeros(2), std=std)


def bound_of(params, x0, draw, student_of=exact):
    objective = VariationalBound(PROCESS, time_sampling.Stratified(), LEVELS)
    objective = learned.bind(objective, params, "objective")
    student = student_of(objective.process)
    return objective(Roles(student, student), x0, {}, draw, jnp.zeros((), int))


@pytest.fixture(scope="module")
def params():
    """A shape that is far from a line."""
    made = learned.init(PROCESS, "process")
    shape = 2 * jax.random.normal(jax.random.key(3), made["process.schedule"]["shape"].shape)
    return {"process.schedule": {**made["process.schedule"], "shape": shape}}


def test_the_learned_schedule_is_monotone_and_keeps_its_ends(params):
    """Fails if the sigmoids are not normalised to their values at the ends, or weigh negatively."""
    t = jnp.linspace(0, 1, 1001)
    for values in (learned.init(PROCESS, "process"), params):
        schedule = learned.bind(PROCESS, values, "process").schedule
        logsnr = Process(schedule).logsnr(t)
        np.testing.assert_allclose(logsnr, schedule.logsnr(t), atol=2e-4)
        np.testing.assert_allclose(logsnr[jnp.array([0, -1])], [7.0, -8.0], atol=1e-4)
        assert (jnp.diff(logsnr) < 0).all()
        np.testing.assert_allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, 1, atol=1e-6)
    straight = learned.bind(PROCESS, learned.init(PROCESS, "process"), "process").schedule.logsnr(t)
    np.testing.assert_allclose(straight, 7 - 15 * t, atol=0.6)
    np.testing.assert_array_equal(SCHEDULE.logsnr(t), straight)


@pytest.mark.parametrize(("read", "learns"), [("logsnr", "ends"), ("logsnr_of_shape", "shape")])
def test_a_reading_of_the_schedule_has_one_part_s_gradient(params, read, learns):
    """To the last bit; fails if the shape follows the bound's, which is noise of mean zero."""
    t = jnp.linspace(0.1, 0.9, 8)
    value = lambda p: (getattr(SCHEDULE.bind(p), read)(t) * (1 + t)).sum()
    gradient = jax.grad(value)(params["process.schedule"])
    assert {name for name, slope in gradient.items() if (slope != 0).any()} == {learns}


def test_the_bound_is_the_likelihood_where_the_denoiser_is_exact(params):
    """Of normal data on so fine levels that these do not count, for any shape of the schedule.

    But for what x_1, with data left in it, differs from the prior: two normals. Fails if a term is
    missing, if the diffusion loss lacks its ½ or its slope, or if the decoder is not normalised.
    """
    n, levels = 40_000, 256
    lowest = -2.0
    alpha2, sigma2 = 1 / (1 + np.exp(-lowest)), 1 / (1 + np.exp(lowest))
    std = 0.25
    x0 = jnp.clip(std * jax.random.normal(jax.random.key(5), (n, 2)), -1, 1)
    spacing = 2 / (levels - 1)

    @jax.jit
    def bits(params):
        objective = VariationalBound(PROCESS, time_sampling.Stratified(), levels)
        objective = learned.bind(objective, params, "objective")
        student = exact(objective.process, std)
        loss, metrics = objective(Roles(student, student), x0, {}, draw_of(n), jnp.zeros((), int))
        return loss.mean(), {k: v.mean() for k, v in metrics.items()}

    entropy = 0.5 * np.log2(2 * np.pi * np.e * std**2) - np.log2(spacing)
    last = alpha2 * std**2 + sigma2
    gap = 0.5 * (last - 1 - np.log(last)) / np.log(2)
    prior = 0.5 * (alpha2 * float((x0**2).mean()) + sigma2 - 1 - np.log(sigma2)) / np.log(2)
    for values in (learned.init(PROCESS, "process"), params):
        ends = jnp.array([7.0, lowest])
        total, parts = bits({"process.schedule": {**values["process.schedule"], "ends": ends}})
        assert float(total) == pytest.approx(entropy + gap, abs=0.03)
        in_parts = parts["prior"] + parts["diffusion"] + parts["reconstruction"]
        assert float(total) == pytest.approx(float(in_parts), rel=1e-5)
        assert float(parts["prior"]) == pytest.approx(prior, rel=1e-3)


def test_the_decoder_is_the_posterior_over_the_levels():
    """Where much noise is left at t = 0; fails if that is not x_0's noise, or the noise of x_t.

    Also if data are not rounded to the nearest level.
    """
    schedule = schedules.Learned(highest=0.5, lowest=-8.0)
    objective = VariationalBound(Process(schedule), time_sampling.Stratified(), LEVELS)
    levels = np.linspace(-1, 1, LEVELS)
    index, draw = np.arange(LEVELS)[:, None], draw_of(LEVELS)
    x0 = jnp.asarray(levels, jnp.float32)[index]
    student = exact(objective.process)
    run = jax.jit(lambda x0: objective(Roles(student, student), x0, {}, draw, jnp.zeros((), int)))
    rough = x0 + 0.2 * (-1) ** jnp.arange(LEVELS)[:, None]  # the levels are 0.5 apart
    _, metrics = run(rough)
    alpha, sigma = np.sqrt([1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(0.5))])
    noise = np.asarray(random.normal(random.stream(draw.keys, "decoder"), x0))
    likelihood = np.exp(-0.5 * ((alpha * x0 + sigma * noise - alpha * levels) / sigma) ** 2)
    posterior = np.take_along_axis(likelihood, index, axis=1) / likelihood.sum(1, keepdims=True)
    np.testing.assert_allclose(metrics["reconstruction"], -np.log2(posterior)[:, 0], rtol=1e-4)


def test_each_part_of_the_schedule_has_its_own_gradient(params):
    """The ends that of the bound, the shape that of the second moment at fixed noise levels.

    Both against finite differences: the bound's, with the shape as it is; and the moment
    ∫¼·slope·error² over the log-SNR, by a sum over a fine grid, for an error that is known.
    Fails if either sees the other's gradient, or without Newton's step.
    """
    x0 = jnp.linspace(-1, 1, LEVELS)[jax.random.randint(jax.random.key(0), (4000, 2), 0, LEVELS)]
    draw = draw_of(4000)

    def student_of(process):
        # An error in the noise of √(1 + sigma²) whatever x: the truth is known to the student.
        def student(x, t, cond):
            alpha, sigma = process.at(t, x)
            truth = (x - alpha * x0) / jnp.where(sigma == 0, 1, sigma)
            return Prediction(x0, truth + jnp.sqrt(1 + sigma**2))

        return student

    loss = lambda params: bound_of(params, x0, draw, student_of)[0].mean()
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: jnp.asarray(a, float), params)
        x0, draw = jnp.asarray(x0, float), Draw(draw.keys, jnp.asarray(draw.stratified_u, float))
        gradient = jax.jit(jax.grad(loss))(params)["process.schedule"]
        moved = lambda name, d: {"process.schedule": {**params["process.schedule"], name: d}}
        value = jax.jit(loss)
        for i in (0, 1):
            step = 1e-4 * jnp.eye(2)[i]
            ends = params["process.schedule"]["ends"]
            slope = (value(moved("ends", ends + step)) - value(moved("ends", ends - step))) / 2e-4
            np.testing.assert_allclose(gradient["ends"][i], slope, rtol=1e-3)

        t = jnp.linspace(0, 1, 20_001)
        bits = 2 * np.log(2)

        @jax.jit
        @jax.grad
        def moment_slope(shape):
            schedule = learned.bind(SCHEDULE, moved("shape", shape), "process.schedule")
            logsnr, slope = jax.jvp(schedule.logsnr_of_shape, (t,), (jnp.ones_like(t),))
            # E_t over its own times: the gradient of ∫(½·slope·error)² dt itself.
            error = 2 * (1 + jax.nn.sigmoid(-logsnr)) / bits
            return jnp.mean((0.5 * slope * error) ** 2)

        expected = moment_slope(params["process.schedule"]["shape"])
        np.testing.assert_allclose(gradient["shape"], expected, rtol=0.02, atol=0.02)


def test_the_shape_learns_to_spread_the_loss_evenly():
    """At the best shape slope·error is constant in t; fails if its gradient has the other sign."""
    error = lambda logsnr: 0.3 + jax.nn.sigmoid(logsnr)  # less to be learned below 0
    objective = VariationalBound(PROCESS, time_sampling.Stratified(), LEVELS)
    optimizer = optax.adam(0.1)

    @jax.jit
    def step(carry, seed):
        shape, moments = carry
        t = draw_of(256, seed).stratified_u

        def moment(shape):
            values = {"process.schedule": {**SCHEDULE.init(), "shape": shape}}
            bound = learned.bind(objective, values, "objective")
            e = jax.lax.stop_gradient(error(bound.process.schedule.logsnr(t)))
            return bound._second_moment(t, e).mean()

        value, slope = jax.value_and_grad(moment)(shape)
        updates, moments = optimizer.update(slope, moments)
        return (optax.apply_updates(shape, updates), moments), value

    shape = SCHEDULE.init()["shape"]
    _, values = jax.lax.scan(step, (shape, optimizer.init(shape)), jnp.arange(200))
    softplus = lambda logsnr: np.log1p(np.exp(logsnr))
    best = (0.5 * (0.3 * 15 + softplus(7.0) - softplus(-8.0))) ** 2  # (∫½·error dlogSNR)²
    assert values[0] > 1.3 * best
    assert values[-20:].mean() < 1.03 * best


def test_the_uncertainty_finds_the_mean_loss_of_each_noise_level():
    """Fails if u is added without its exponential, or at the wrong noise level."""
    process = Process(schedules.Cosine())
    denoising = Denoising(
        process, parameterizations.x0, time_sampling.Stratified(), weighting.Simple()
    )
    objective = LearnedUncertainty(denoising, features=6)
    level = lambda logsnr: 0.3 * jnp.exp(1 + jnp.cos(jnp.pi * (logsnr + 20) / 40))

    def student(x, t, cond):
        wrong = jnp.sqrt(level(jnp.clip(process.logsnr(t), -20, 20)))
        return Prediction(jnp.zeros_like(x) + wrong[:, None], x)

    @jax.jit
    def step(carry, seed):
        params, moments = carry

        def mean(params):
            bound = learned.bind(objective, params, "objective")
            x0 = jnp.zeros((256, 2))
            loss, metrics = bound(Roles(student, student), x0, {}, draw_of(256, seed), seed)
            return loss.mean(), metrics["plain_loss"].mean()

        (value, plain), slope = jax.value_and_grad(mean, has_aux=True)(params)
        updates, moments = optimizer.update(slope, moments)
        return (optax.apply_updates(params, updates), moments), (value, plain)

    optimizer = optax.adam(0.05)
    params = learned.init(objective, "objective")
    (params, _), (values, plain) = jax.lax.scan(
        step, (params, optimizer.init(params)), jnp.arange(600)
    )
    logsnr = jnp.linspace(-12, 12, 9)
    found = learned.bind(objective, params, "objective").uncertainty(logsnr)
    np.testing.assert_allclose(found, jnp.log(level(logsnr)), atol=0.05)
    assert float(values[0]) == pytest.approx(float(plain[0]), rel=1e-6)  # u = 0 at the start
    assert values[-1] < values[0]


def test_importance_weighs_the_uncertainty_too():
    """Fails if only the quotient is weighted: the mean would depend on how times are drawn.

    Also if noise levels beyond those that are told apart are not finite.
    """
    importance = jnp.array([2.0, 0.5])

    def of(roles, x0, cond, draw, step):
        return importance * 3.0, {"logsnr": jnp.array([0.0, 3.0]), "importance": importance}

    objective = LearnedUncertainty(of, features=2, params=jnp.array([0.4, 0.1]))
    nothing = Roles(of, of), jnp.zeros((2, 1)), {}, draw_of(2), jnp.zeros((), int)
    loss, metrics = objective(*nothing)
    u = metrics["uncertainty"]
    assert u[0] != u[1]
    np.testing.assert_allclose(loss, importance * (3.0 / jnp.exp(u) + u), rtol=1e-6)
    np.testing.assert_allclose(metrics["plain_loss"], 3.0, rtol=1e-6)
    # At the ends of most schedules the log-SNR is infinite: there u is what it is at ±20.
    u = objective.uncertainty(jnp.array([-jnp.inf, -20.0, 20.0, jnp.inf]))
    np.testing.assert_allclose(u, [0.5, 0.5, 0.3, 0.3], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: VariationalBound(Process(schedules.Cosine()), time_sampling.Stratified()),
            "has no noise at t = 0",
        ),
        (lambda: VariationalBound(PROCESS, time_sampling.Stratified(), 1), "levels is 1"),
        (lambda: schedules.Learned(highest=-6.0), "lowest=-5.0 is not below highest=-6.0"),
        (lambda: schedules.Learned(features=0), "features is 0"),
        (lambda: LearnedUncertainty(objectives.Denoising, 0), "features is 0"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
