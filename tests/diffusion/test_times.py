"""The distributions of training times of Esser et al. (2024), and times on a grid."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.config.build import build
from jaxdiff.diffusion import parameterizations, schedules, time_sampling, weighting
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives import Denoising
from jaxdiff.typing import Draw, Prediction, Roles
from jaxdiff.weights import learned

COSINE = Process(schedules.Cosine())

FLOW = Process(schedules.RectifiedFlow())


def draw_of(n):
    stratified_u = (0.3 + jnp.arange(n) / n) % 1
    return Draw(random.example_keys(jax.random.key(1), jnp.arange(n)), stratified_u)


@pytest.mark.parametrize("scale", [-1.0, -0.3, 0.0, 1.29, 1.75])
def test_mode_is_the_papers(scale):
    """Fails on a sign of the scale, or a sine for the cosine; never falls to t = 0."""
    u = np.linspace(0.0, 1.0, 102)[:-1]
    with jax.enable_x64(True):
        t = time_sampling.Mode(scale).quantile(FLOW, jnp.asarray(u))
    expected = 1 - u - scale * (np.cos(np.pi * u / 2) ** 2 - 1 + u)
    np.testing.assert_allclose(t, expected, atol=1e-14)
    assert 0 < time_sampling.Mode(scale).quantile(FLOW, jnp.float32([1 - 6e-8]))[0] < 1e-6


def test_cosine_map_has_the_papers_density():
    """dt/du = 1/density(t), 2/(π - 2πt + 2πt²), and the log-SNR of the cosine schedule."""
    with jax.enable_x64(True):
        u = jnp.asarray(np.linspace(0.0, 1.0, 102)[:-1])
        quantile = lambda u: time_sampling.CosineMap().quantile(FLOW, u)
        t, slope = jax.jvp(quantile, (u,), (jnp.ones_like(u),))
        density = 2 / (np.pi - 2 * np.pi * t + 2 * np.pi * t**2)
        np.testing.assert_allclose(-slope, 1 / density, rtol=1e-9)
        cosine = Process(schedules.Cosine()).logsnr(1 - u)
        np.testing.assert_allclose(FLOW.logsnr(t), cosine, rtol=1e-9, atol=1e-12)
    ends = time_sampling.CosineMap().quantile(FLOW, jnp.float32([0.0, 1 - 6e-8]))
    assert ends[0] == 1
    assert ends[1] > 0


def test_noise_levels_have_the_distributions_of_their_names():
    """By the levels at quantiles; fails for another exponent, end or share."""
    with jax.enable_x64(True):
        edm, u = Process(schedules.EDM(sigma_max=80.0)), jnp.asarray([0.0, 0.25, 0.5, 1.0])
        level = lambda rule: 80 * np.asarray(rule.quantile(edm, u))
        karras = (0.002 ** (1 / 7) + (0.02 + 0.96 * u) * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
        found = level(time_sampling.KarrasUniform(low=0.02, high=0.98))
        np.testing.assert_allclose(found, karras, rtol=1e-6)
        # Student's with 1 degree of freedom is Cauchy's: arctan of the standardized logarithm.
        cauchy = time_sampling.LogStudent(freedom=1.0, mean=0.3, std=0.4, low=0.5, high=20.0)
        ends = np.arctan((np.log([0.5, 20.0]) - 0.3) / 0.4)
        expected = np.exp(0.3 + 0.4 * np.tan(ends[0] + u * (ends[1] - ends[0])))
        np.testing.assert_allclose(level(cauchy), expected, rtol=1e-4)
        mixed = time_sampling.WithLevel(sigma=2.0, share=0.4, of=cauchy)
        found = 80 * np.asarray(mixed.quantile(edm, jnp.asarray([0.0, 0.39, 0.4, 0.7])))
        np.testing.assert_allclose(found, [2, 2, expected[0], expected[2]], rtol=1e-4)
    with pytest.raises(ValueError, match=r"LogStudent: low=3\.0 must be below high=2\.0"):
        time_sampling.LogStudent(low=3.0, high=2.0)
    with pytest.raises(ValueError, match=r"KarrasUniform: .* low=0\.9 below high=0\.5"):
        time_sampling.KarrasUniform(low=0.9, high=0.5)


@pytest.mark.parametrize("name", ["Mode", "CosineMap", "Discretized"])
def test_independent_times_are_the_quantile_of_uniform_numbers(name):
    """Fails if calling a distribution uses the stratified numbers in place of the keys."""
    draw, rule = draw_of(101), build(time_sampling, name + "()")
    t, importance = rule(FLOW, draw)
    u = random.uniform(random.stream(draw.keys, "time"))
    np.testing.assert_array_equal(t, rule.quantile(FLOW, u))
    np.testing.assert_array_equal(importance, 1)


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_discretized_rounds_up_and_once(steps):
    """Fails if times are rounded down or to nearest, and if a step's own time moves up."""
    rule = time_sampling.Discretized(time_sampling.LogitNormal(), steps)
    u = jnp.asarray(np.linspace(0.0, 1.0, 102, dtype=np.float32)[:-1])
    t, exact = rule.quantile(FLOW, u), rule.of.quantile(FLOW, u)
    index = np.round(np.asarray(t, float) * steps)
    np.testing.assert_allclose(t, index / steps, rtol=1e-6)
    assert index.min() >= 1
    assert index.max() <= steps
    assert np.all((index / steps - exact >= -1e-6) & (index / steps - exact < 1 / steps + 1e-6))
    grid = time_sampling.Discrete(steps)
    again = time_sampling.Discretized(grid, steps).quantile(FLOW, u)
    np.testing.assert_array_equal(again, grid.quantile(FLOW, u))


def test_discretized_times_can_be_stratified():
    """Fails if the wrapper has no quantile of its own."""
    rule = build(time_sampling, "Stratified(of=Discretized(of=Mode(scale=0.5), steps=8))")
    t, _ = rule(FLOW, draw_of(101))
    np.testing.assert_array_equal(jnp.unique(t), jnp.arange(1, 9) / 8)


LOSS = lambda t: 0.1 + jnp.where(t > 0.5, 4 * t, 0.0)


def seen(rule, steps=30, size=256):
    """Returns the sampling after steps on a known loss, and the last step's times and losses."""

    @jax.jit
    def step(statistics, offset):
        bound = learned.bind(rule, {"time_sampling": statistics}, "time_sampling")
        draw = Draw(draw_of(size).keys, (offset + jnp.arange(size) / size) % 1)
        t, importance = bound(FLOW, draw)
        loss = importance * LOSS(t)
        observed = learned.observe(bound, draw, loss, {"importance": importance}, "time_sampling")
        return learned.absorb(bound, observed, "time_sampling")["time_sampling"], (t, loss)

    statistics = rule.begin()
    for offset in np.random.default_rng(0).random(steps):
        statistics, last = step(statistics, offset)
    return learned.bind(rule, {"time_sampling": statistics}, "time_sampling"), *last


def test_loss_aware_times_follow_the_losses_and_keep_their_mean():
    """p = √E[loss²] up to the floor, and the mean loss that of uniform times, with less variance.

    Fails if p is proportional to E[loss²], if the importance is p or missing, or if the losses
    that it has already weighted enter the statistics.
    """
    rule = time_sampling.LossAware(bins=20, floor=0.05)
    bound, t, loss = seen(rule)
    middles = 1 - (np.arange(20) + 0.5) / 20  # u rises where t falls
    expected = 0.05 + 0.95 * LOSS(middles) / LOSS(middles).mean()
    np.testing.assert_allclose(bound.density(), expected, rtol=0.02)
    truth = LOSS(np.linspace(0, 1, 10_001)).mean()
    np.testing.assert_allclose(loss.mean(), truth, rtol=0.02)
    assert loss.std() < 0.2 * LOSS(t).mean()
    assert np.histogram(t, 2, (0, 1))[0][1] > 0.9 * len(t)


def test_loss_aware_times_are_even_until_every_part_has_been_seen():
    """Fails if a part without losses yet is left out for ever."""
    rule = time_sampling.LossAware(bins=64)
    bound, *_ = seen(rule, steps=1, size=32)
    np.testing.assert_array_equal(bound.density(), 1)
    t, importance = rule(FLOW, draw_of(64))
    np.testing.assert_allclose(t, 1 - draw_of(64).stratified_u, atol=1e-6)
    np.testing.assert_array_equal(importance, 1)


def test_loss_aware_times_forget_old_losses_at_their_rate():
    """Of losses √2 once and 1 ever since; fails if nothing is forgotten, or all at once."""
    rule = time_sampling.LossAware(bins=2, decay=0.75, floor=1e-3)
    statistics = rule.begin()
    for first in (2.0, 1.0, 1.0):
        bound = rule.bind(statistics)
        statistics = bound.absorb({"squared": jnp.array([first, 1.0]), "count": jnp.ones(2)})
    weights = np.array([0.75**2, 0.75, 1.0])
    root = np.sqrt([1 + weights[0] / weights.sum(), 1])
    expected = 1e-3 + (1 - 1e-3) * root / root.mean()
    np.testing.assert_allclose(rule.bind(statistics).density(), expected, rtol=1e-5)


def test_loss_aware_times_are_finite_where_there_is_no_loss_and_above_zero():
    """Fails if losses that are all zero divide, or the last numbers are rounded up to t = 0."""
    nothing = {"squared": jnp.zeros(13), "count": jnp.ones(13)}
    rule = time_sampling.LossAware(bins=13).bind(nothing)
    np.testing.assert_array_equal(rule.density(), 1)
    uneven = rule.bind(nothing | {"squared": jnp.arange(1.0, 14.0) ** 2})  # sums to 1 - 2^-23
    draw = Draw(draw_of(3).keys, 1 - jnp.float32([1, 2, 3]) * 2**-24)
    for bound in (rule, uneven):
        t, importance = bound(FLOW, draw)
        assert bool((t > 0).all() & jnp.isfinite(importance).all())


def test_loss_aware_times_keep_another_distribution():
    """Fails if the parts are of t, and not of the other distribution's numbers."""
    rule = time_sampling.LossAware(of=time_sampling.LogitNormal(), bins=16)
    t, _ = rule(FLOW, draw_of(101))
    np.testing.assert_allclose(t, rule.of.quantile(FLOW, draw_of(101).stratified_u), atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("LossAware(bins=1)", "bins is 1"),
        ("LossAware(decay=1.0)", r"decay is 1.0"),
        ("LossAware(floor=0.0)", r"floor is 0.0"),
        ("Mode(scale=2.0)", r"scale is 2.0"),
        ("Discretized(steps=0)", "steps is 0"),
    ],
)
def test_bad_options_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        build(time_sampling, spec)


def test_what_has_no_quantile_is_named():
    """Past the type checks that only tests have."""
    wrong = SimpleNamespace(of=time_sampling.Stratified(), steps=1000)
    with pytest.raises(ValueError, match=r"has no quantile.*Stratified around"):
        time_sampling.Discretized.__post_init__(wrong)


def test_times_of_frames_are_independent_and_held_frames_count_for_nothing():
    """Fails if frames share their draw, or a given frame has a loss."""
    rule = time_sampling.PerFrame(3, held=1, held_at=0.02)
    keys = random.example_keys(jax.random.key(0), jnp.arange(4096))
    t, importance = rule(COSINE, Draw(keys, jnp.zeros(4096)))
    assert t.shape == importance.shape == (4096, 3)
    np.testing.assert_array_equal(t[:, 0], np.float32(0.02))
    np.testing.assert_array_equal(importance, np.broadcast_to([0.0, 1.0, 1.0], (4096, 3)))
    assert abs(np.corrcoef(t[:, 1], t[:, 2])[0, 1]) < 0.05
    assert abs(float(t[:, 1].mean()) - 0.5) < 0.02
    with pytest.raises(ValueError, match="held=3 must be fewer"):
        time_sampling.PerFrame(3, held=3)


def test_losses_of_frames_are_those_of_each_alone():
    """Fails if the weight of one frame's time multiplies another's error."""
    process, n = COSINE, 8
    keys = random.example_keys(jax.random.key(0), jnp.arange(n))
    x0 = jax.random.normal(jax.random.key(1), (n, 3, 2))
    zero = lambda x, t, cond: Prediction(jnp.zeros_like(x), x)
    objective = Denoising(
        process, parameterizations.x0, time_sampling.PerFrame(3), weighting.MinSNR(5.0)
    )
    roles = Roles(zero, zero)
    loss, metrics = objective(roles, x0, {}, Draw(keys, jnp.zeros(n)), jnp.zeros((), int))
    t = time_sampling.PerFrame(3)(process, Draw(keys, jnp.zeros(n))).t
    weight = jax.vmap(lambda t: weighting.MinSNR(5.0)(process, parameterizations.x0, t), 1, 1)(t)
    np.testing.assert_allclose(loss, weight * (x0**2).mean(-1), rtol=1e-5)
    np.testing.assert_allclose(metrics["logsnr"], process.logsnr(t), rtol=1e-5)
