"""Guidance against closed forms: Gaussians stay Gaussians under most of what it does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.condition import drop
from jaxdiff.config.build import build
from jaxdiff.diffusion import guidance, inverse
from jaxdiff.diffusion.inverse.operators import Inpainting
from jaxdiff.diffusion.parameterizations import v, velocity
from jaxdiff.typing import Condition, Prediction
from tests.support.gaussians import (
    COSINE,
    EDM,
    FLOW,
    LABEL,
    MEANS,
    NULL_STD,
    STD,
    B,
    T,
    equal,
    gaussian,
    given,
    of_label,
    pair,
)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


MASK, Y = np.array([True, False, True]), np.array([[0.4, 0.0, -0.3]])
GUIDANCE = {
    "cfg": guidance.ClassifierFree(3.0),
    "schedule": guidance.ClassifierFree(guidance.LinearScale(3.0)),
    "interval": guidance.Interval(COSINE, 3.0, low=0.2, high=0.8),
    "rescaled": guidance.Rescaled(COSINE, 3.0),
    "static": guidance.StaticThreshold(COSINE, 3.0),
    "dynamic": guidance.DynamicThreshold(COSINE, 3.0, percentile=60.0),
    "negative": guidance.Negative({"label": 2}, 3.0),
    "auto": guidance.AutoGuidance(
        lambda x, t, c: gaussian(COSINE, x, t, jnp.full_like(x, 0.1), 0.9), 3.0
    ),
    "apg": guidance.AdaptiveProjected(COSINE, 3.0, eta=0.3, norm_threshold=0.5),
    "zero_star": guidance.CFGZeroStar(COSINE, 3.0, zero_above=0.8),
    "cfg++": guidance.CFGPlusPlus(0.6),
    "classifier": guidance.ClassifierGuidance(COSINE, lambda x, t, c: -(x**4).sum(-1)),
    "composed": guidance.Composed(({"label": 0}, {"label": 1}), (2.0, 1.5)),
    "dps": inverse.DPS(COSINE, Inpainting(MASK), Y),
    "pigdm": inverse.PiGDM(COSINE, Inpainting(MASK), Y, 0.1),
    "known": inverse.KnownPixels(COSINE, MASK, Y),
}


@pytest.mark.parametrize("name", GUIDANCE)
def test_what_is_guided_explains_x_and_an_example_knows_no_other(name):
    """Fails if noise is not moved with x0, a norm or quantile is the batch's, or an end divides."""
    x, t, cond = given()
    guided = jax.jit(GUIDANCE[name](of_label))
    prediction = guided(x, t, cond)
    consistent = np.allclose(COSINE.perturb(prediction, t), x, atol=1e-9)
    assert consistent == (name != "cfg++")
    others = [jnp.roll(a, 1, axis=0).at[3].set(a[3]) for a in (x, t, cond["label"])]
    at_3 = lambda prediction: jax.tree.map(lambda a: a[3], prediction)
    equal(at_3(guided(others[0], others[1], {"label": others[2]})), at_3(prediction), rtol=1e-6)
    for end in (0.0, 1.0):  # alpha(1) = 0 and sigma(0) = 0
        x0, noise, _ = guided(x, jnp.full(B, end), cond)
        assert bool(jnp.isfinite(x0).all() & jnp.isfinite(noise).all())


@pytest.mark.parametrize("process", [COSINE, EDM, FLOW])
def test_classifier_free_is_the_score_of_the_product(process):
    """p_c^w·p_u^(1-w) at each noise level; fails if the scale counts from 0, or the two swap."""
    x, t, cond = given()
    w, denoiser = 3.0, functools.partial(of_label, process=process)
    guided = jax.jit(guidance.ClassifierFree(w)(denoiser))(x, t, cond)
    alpha, sigma = process.at(t, x)
    variance_c, variance_u = ((alpha * s) ** 2 + sigma**2 for s in (STD, NULL_STD))
    precision = w / variance_c + (1 - w) / variance_u
    mean = w / variance_c * alpha * MEANS[LABEL] / precision
    np.testing.assert_allclose(guided.noise, sigma * precision * (x - mean), rtol=1e-10)


def test_a_scale_may_be_a_function_of_time():
    """Fails if the schedule runs backwards, or one time's scale serves the batch."""
    x, t, cond = given()
    schedule = guidance.LinearScale(4.0, start=1.0)
    np.testing.assert_allclose(schedule(jnp.array([0.0, 1.0])), [4.0, 1.0])
    (c, u), scale = pair(), (4.0 - 3.0 * T)[:, None]
    guided = jax.jit(guidance.ClassifierFree(schedule)(of_label))(x, t, cond)
    np.testing.assert_allclose(guided.x0, u.x0 + scale * (c.x0 - u.x0), rtol=1e-9)


def test_conditions_dropped_by_the_caller_stay_dropped():
    """Fails if the branches are stacked without the caller's own masks."""
    x, t, cond = given()
    kept = jnp.array([True, False, True, True, False])
    guided = guidance.ClassifierFree(3.0)(of_label)(
        x, t, {"label": Condition(cond["label"], keep=kept)}
    )
    plain = jax.jit(guidance.ClassifierFree(3.0)(of_label))(x, t, cond)
    equal(guided, jax.tree.map(lambda a, b: jnp.where(kept[:, None], a, b), plain, pair()[1]))


def test_scale_one_is_the_denoiser_itself():
    """Fails if a rule asks for a condition, or twice, where there is no guidance."""
    for rule in ("ClassifierFree", "Rescaled()", "AdaptiveProjected", "CFGZeroStar"):
        assert build(guidance, rule, process=COSINE, guidance_scale=1.0)(of_label) is of_label
    deep = guidance.Rescaled(COSINE, of=guidance.ClassifierFree(3.0))
    assert deep(of_label) is not of_label


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"low": 0.3, "high": 0.7}, [False, True, True, True, False]),
        ({"low": 0.5}, [False, False, True, True, True]),
        # sigma/alpha = tan(πt/2): 0.16, 0.51, 1, 1.96, 6.3
        ({"low": 0.4, "high": 5.0, "unit": "noise"}, [False, True, True, True, False]),
    ],
)
def test_an_interval_is_guided_inside_and_plain_outside(options, expected):
    """Fails if the ends or the two are swapped, or levels are read as times."""
    x, t, cond = given()
    prediction = jax.jit(guidance.Interval(COSINE, 3.0, **options)(of_label))(x, t, cond)
    guided, plain = jax.jit(guidance.ClassifierFree(3.0)(of_label))(x, t, cond), pair()[0]
    choose = lambda a, b: jnp.where(jnp.array(expected)[:, None], a, b)
    equal(prediction, jax.tree.map(choose, guided, plain))


@pytest.mark.parametrize(("time", "sizes"), [(0.1, [B]), (0.5, [2 * B])])
def test_outside_an_interval_the_network_is_asked_once(time, sizes):
    """Fails if both predictions are made at every step."""
    x, _, cond = given()
    seen = []

    def counted(x, t, cond):
        jax.debug.callback(lambda: seen.append(len(x)))
        return of_label(x, t, cond)

    limited = guidance.Interval(COSINE, 3.0, low=0.3, high=0.7)(counted)
    jax.block_until_ready(limited(x, jnp.full(B, time), cond))
    jax.effects_barrier()
    assert seen == sizes


def test_rescaling_gives_back_the_conditional_deviation():
    """Fails if the ratio is upside down, not of v, or `rescale` mixes the wrong way."""
    x, t, cond = given()
    deviation = lambda prediction: COSINE.read(v, prediction, t).std(axis=1)
    rescaled = jax.jit(guidance.Rescaled(COSINE, 3.0, rescale=1.0)(of_label))(x, t, cond)
    np.testing.assert_allclose(deviation(rescaled), deviation(pair()[0]), rtol=1e-9)
    plain = jax.jit(guidance.ClassifierFree(3.0)(of_label))(x, t, cond)
    equal(jax.jit(guidance.Rescaled(COSINE, 3.0, rescale=0.0)(of_label))(x, t, cond), plain)
    half = jax.jit(guidance.Rescaled(COSINE, 3.0, rescale=0.5)(of_label))(x, t, cond)
    mean = (deviation(plain) + deviation(rescaled)) / 2
    np.testing.assert_allclose(deviation(half), mean, rtol=1e-9)
    around = guidance.Rescaled(COSINE, of=guidance.CFGZeroStar(COSINE, 3.0, zero_above=1.0))
    np.testing.assert_allclose(
        deviation(GUIDANCE["rescaled"](of_label)(x, t, cond)),
        0.7 * deviation(rescaled) + 0.3 * deviation(plain),
        rtol=1e-9,
    )
    assert around(of_label)(x, t, cond).x0.shape == x.shape


def test_thresholds_are_the_paper_s():
    """Fails if the percentile is a fraction, or data within the limit are divided up to it."""
    x, t, _ = given()
    x0 = jnp.array([[0.2, -0.4, 0.6], [4.0, -2.0, 0.5], [0.0, 1.5, -1.2], [9.0] * 3, [0.0] * 3])
    denoiser = lambda x, t, cond: Prediction(x0, (x - COSINE.at(t, x)[0] * x0) / COSINE.at(t, x)[1])
    static = jax.jit(guidance.StaticThreshold(COSINE, limit=0.8)(denoiser))(x, t, {})
    np.testing.assert_allclose(static.x0, np.clip(x0, -0.8, 0.8))
    dynamic = jax.jit(guidance.DynamicThreshold(COSINE, percentile=50.0)(denoiser))(x, t, {})
    # The medians of |x0| are 0.4, 2, 1.2, 9 and 0, of which those above 1 divide.
    expected = [x0[0], [1, -1, 0.25], [0, 1, -1], [1] * 3, [0] * 3]
    np.testing.assert_allclose(dynamic.x0, np.array(expected))
    np.testing.assert_allclose(COSINE.perturb(dynamic, t), x, atol=1e-12)
    narrow = guidance.DynamicThreshold(COSINE, percentile=50.0, limit=0.5)
    dynamic = jax.jit(narrow(denoiser))(x, t, {})
    expected = [[0.2, -0.4, 0.5], [0.5, -0.5, 0.125], [0, 0.5, -0.5], [0.5] * 3, [0] * 3]
    np.testing.assert_allclose(dynamic.x0, np.array(expected))


def test_a_negative_condition_takes_the_place_of_the_null():
    """Fails if the positive branch is replaced too, or the null still has a part."""
    x, t, cond = given()
    negative = of_label(x, t, {"label": jnp.full(B, 2)})
    expected = guidance.ClassifierFree(3.0).combine(pair()[0], negative, x, t)
    equal(jax.jit(guidance.Negative({"label": 2}, 3.0)(of_label))(x, t, cond), expected)
    with pytest.raises(ValueError, match=r"no condition 'text' is given; given: \['label'\]"):
        jax.jit(guidance.Negative({"text": 2}, 3.0)(of_label))(x, t, cond)


def test_autoguidance_by_the_same_model_is_the_model():
    """Fails if the weak model is extrapolated from the wrong side, or sees no condition."""
    x, t, cond = given()
    equal(jax.jit(guidance.AutoGuidance(of_label, 3.0)(of_label))(x, t, cond), pair()[0])
    weak = lambda x, t, cond: gaussian(COSINE, x, t, jnp.asarray(MEANS)[cond["label"]], 0.8)
    guided = jax.jit(guidance.AutoGuidance(weak, 2.0)(of_label))(x, t, cond)
    np.testing.assert_allclose(guided.x0, 2 * pair()[0].x0 - weak(x, t, cond).x0, rtol=1e-9)


def test_projected_guidance():
    """Fails if the parallel part is kept for the orthogonal, or lengths are not limited."""
    x, t, cond = given()
    apg = lambda **options: jax.jit(guidance.AdaptiveProjected(COSINE, 3.0, **options)(of_label))(
        x, t, cond
    )
    equal(apg(eta=1.0), jax.jit(guidance.ClassifierFree(3.0)(of_label))(x, t, cond))
    x0 = pair()[0].x0
    update = apg(eta=0.0).x0 - x0
    np.testing.assert_allclose(jnp.sum(update * x0, axis=1), 0, atol=1e-12)
    assert bool((jnp.linalg.norm(update, axis=1) > 0.05).all())
    limited = apg(eta=1.0, norm_threshold=0.3).x0 - x0
    full = jnp.linalg.norm(x0 - pair()[1].x0, axis=1)
    np.testing.assert_allclose(
        jnp.linalg.norm(limited, axis=1), 2 * jnp.minimum(full, 0.3), rtol=1e-9
    )


def test_zero_star_extrapolates_from_the_optimal_multiple():
    """Fails if the projection is on the conditional velocity, or the scale multiplies it too."""
    x, t, cond = given()
    t = t + 0.05  # at t = 0.5 the velocity of N(0, 1) is zero
    denoiser = functools.partial(of_label, process=FLOW)
    c = np.asarray(FLOW.read(velocity, denoiser(x, t, cond), t))
    u = np.asarray(FLOW.read(velocity, denoiser(x, t, drop(cond)), t))
    s = (c * u).sum(1, keepdims=True) / (u * u).sum(1, keepdims=True)
    guided = jax.jit(guidance.CFGZeroStar(FLOW, 3.0, zero_above=1.0)(denoiser))(x, t, cond)
    np.testing.assert_allclose(FLOW.read(velocity, guided, t), s * u + 3 * (c - s * u), rtol=1e-9)


def test_zero_star_begins_with_standing_still():
    """Fails if the first steps move x, or the later ones do not."""
    x, _, cond = given()
    guided = guidance.CFGZeroStar(FLOW, 3.0)(functools.partial(of_label, process=FLOW))
    for time, still in ((1.0, True), (0.97, True), (0.95, False)):
        after = FLOW.perturb(guided(x, jnp.full(B, time), cond), jnp.full(B, time - 0.1))
        assert np.allclose(after, x, atol=1e-12) == still


def test_cfg_plus_plus_guides_x0_and_leaves_the_noise():
    """Fails if λ = 0 is not unconditional, or the noise is guided or conditional."""
    x, t, cond = given()
    c, u = pair()
    equal(jax.jit(guidance.CFGPlusPlus(0.0)(of_label))(x, t, cond), u)
    equal(jax.jit(guidance.CFGPlusPlus(1.0)(of_label))(x, t, cond), (c.x0, u.noise))


def test_composition_is_the_product_of_what_each_says():
    """Fails if the null is counted once for each, or a scale goes to another condition."""
    x, t, cond = given()
    single = jax.jit(guidance.Composed(({"label": 1},), (3.0,))(of_label))(x, t, {})
    label = {"label": jnp.ones(B, int)}
    equal(single, jax.jit(guidance.ClassifierFree(3.0)(of_label))(x, t, label))
    guided = jax.jit(guidance.Composed(({"label": 0}, {"label": 2}), (2.0, -0.5))(of_label))(
        x, t, cond
    )
    u = pair()[1].noise
    noise = lambda label: of_label(x, t, {"label": jnp.full(B, label)}).noise
    np.testing.assert_allclose(guided.noise, u + 2 * (noise(0) - u) - 0.5 * (noise(2) - u))


def test_a_composition_drops_what_a_condition_does_not_name():
    """Fails if a placeholder is taken for a condition."""

    def seen(x, t, cond):
        kept = [c.keep[:, None] * c.value.reshape(len(x), -1) for c in cond.values()]
        total = sum(k.sum(1, keepdims=True) for k in kept)
        return Prediction(total + 0 * x, total + 0 * x)

    x, t, _ = given()
    both = guidance.Composed(({"a": 3.0}, {"b": np.array([1.0, 10.0])}), (1.0, 2.0))
    np.testing.assert_allclose(both(seen)(x, t, {}).x0, 3.0 + 2 * 11.0)
