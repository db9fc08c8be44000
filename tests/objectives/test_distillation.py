"""Students of a teacher's samples, spans and distances; closed forms, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import objectives
from jaxdiff.condition import conditions
from jaxdiff.diffusion import (
    guidance,
    oracles,
    parameterizations,
    schedules,
    solvers,
    spans,
    time_sampling,
    weighting,
)
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives.distances import Adaptive, PseudoHuber, Squared
from jaxdiff.objectives.improved_mean_flow import power_law
from jaxdiff.typing import Draw, Prediction, Roles, Span
from tests.support.gaussians import COSINE, FLOW, given, of_label

PARTS = {
    "time_sampling": time_sampling.Uniform(),
    "weighting": weighting.Simple(),
}
V = {"parameterization": parameterizations.v}
STEP = jnp.asarray(0)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def batch():
    """Truth of five labelled examples, their span and their condition."""
    x0, t, cond = given()
    keys = jax.random.split(jax.random.key(0), len(t))
    noise = jax.random.normal(jax.random.key(1), x0.shape, x0.dtype)
    return Prediction(x0, noise), Span(t, 0.8 * t, keys, 1), cond


def by_scale(x, t, cond):
    """The guided model, which reads its scale."""
    scale = conditions(cond)["guidance_scale"].value
    cond = {"label": cond["label"]}
    return guidance.ClassifierFree(lambda t: scale)(of_label)(x, t, cond)


def test_a_student_of_guidance_reads_the_scale_that_its_teacher_has():
    """Zero for the guided model itself; fails if the two have another scale."""
    objective = objectives.GuidanceDistillation(COSINE, **PARTS, **V, low=1.0, high=6.0)
    truth, span, cond = batch()
    loss, _ = objective.loss(Roles(by_scale, by_scale, of_label), truth, span, cond, STEP)
    np.testing.assert_allclose(loss, 0, atol=1e-20)
    fixed = lambda x, t, cond: by_scale(x, t, {**cond, "guidance_scale": jnp.full(5, 3.0)})
    loss, _ = objective.loss(Roles(fixed, fixed, of_label), truth, span, cond, STEP)
    assert float(loss.min()) > 1e-6
    with pytest.raises(ValueError, match=r"GuidanceDistillation: low=2.0 and high=1.0"):
        objectives.GuidanceDistillation(COSINE, **PARTS, **V, low=2.0, high=1.0)


def test_without_guidance_latent_consistency_is_consistency_distillation():
    """And with it another; fails if the student is guided too, or the step is not the solver's."""
    euler, truth_span_cond = solvers.Euler(COSINE), batch()
    roles = Roles(of_label, of_label, of_label)
    plain = objectives.ConsistencyDistillation(COSINE, **PARTS, solver=euler)
    expected, _ = plain.loss(roles, *truth_span_cond, STEP)
    latent = lambda scale: objectives.LatentConsistency(
        COSINE, **PARTS, low=scale, high=scale, distance=Squared()
    )
    np.testing.assert_allclose(
        latent(1.0).loss(roles, *truth_span_cond, STEP)[0], expected, rtol=1e-12
    )
    other, _ = latent(3.0).loss(roles, *truth_span_cond, STEP)
    assert float(jnp.abs(other - expected).min()) > 1e-6


def test_the_straightened_flow_is_where_reflow_is_zero():
    """From N(0, 1) to N(m, c²) by x0 = m + c·z, whose inverse at x_t is linear.

    Fails if pairs are of other noise, or the teacher is not integrated to the end.
    """
    mean, std = jnp.array([0.4, -0.3, 0.1]), 0.5
    teacher = oracles.FlowMap(oracles.Gaussian(FLOW, mean, std))
    exact = solvers.FlowMap(FLOW)
    objective = objectives.Reflow(FLOW, **PARTS, **V, steps=3, solver=exact)

    def student(x, t, cond):
        alpha, sigma = FLOW.at(t, x)
        noise = (x - alpha * mean) / (alpha * std + sigma)
        return Prediction(mean + std * noise, noise)

    truth, span, _ = batch()
    loss, _ = objective.loss(Roles(student, student, teacher), truth, span, {}, STEP)
    np.testing.assert_allclose(loss, 0, atol=1e-20)
    loss, _ = objective.loss(Roles(teacher, teacher, teacher), truth, span, {}, STEP)
    assert float(loss.min()) > 1e-6


def test_meanflow_has_guidance_in_its_target():
    """v, u and u(∅) by the shares of equation 19; plain v where the condition is dropped."""
    objective = objectives.MeanFlow(COSINE, **PARTS, guidance_scale=1.5, own_share=0.5)
    assert objective.guided == 3.0
    x, t, cond = given()
    v = 2 * jnp.ones_like(x)
    label = conditions(cond)["label"]
    keep = jnp.array([True, True, True, True, False])
    cond = {"label": type(label)(label.value, keep=keep)}
    found = objective._guided(of_label, v, x, t, cond)
    read = lambda p: COSINE.read(parameterizations.velocity, p, t)
    own = read(of_label(x, t, given()[2]))
    null = read(of_label(x, t, {"label": type(label)(label.value, keep=jnp.zeros(5, bool))}))
    np.testing.assert_allclose(found[:4], (1.5 * v + 0.5 * own - null)[:4], rtol=1e-12)
    np.testing.assert_array_equal(found[4], v[4])


def test_improved_meanflow_has_its_fixed_point_at_the_guided_velocity():
    """The student that is guided by w on average has itself as target; plain v where w is 1.

    Fails if 1 - 1/w is not its factor, or the interval or a dropped condition does not count.
    """
    objective = objectives.ImprovedMeanFlow(
        COSINE, **PARTS, guidance_high=8.0, guidance_intervals=True
    )
    assert objective.needs_scalars == ("until", "guidance_scale", "guidance_from", "guidance_to")
    x, t, cond = given()
    label = conditions(cond)["label"]
    cond = {"label": type(label)(label.value, keep=jnp.array([True, True, True, True, False]))}
    read = lambda p: COSINE.read(parameterizations.velocity, p, t)
    v = read(of_label(x, t, cond))
    scale, low, high = jnp.full(5, 3.0), jnp.full(5, 0.2), jnp.full(5, 0.6)
    found, own = objective._guided(by_scale, v, x, t, cond, scale, low, high)
    guided = read(by_scale(x, t, {**cond, "guidance_scale": scale}))
    inside = np.array([False, True, True, False, False])  # t is 0.1, 0.3, 0.5, 0.7, 0.9
    np.testing.assert_allclose(found, jnp.where(inside[:, None], guided, v), rtol=1e-9)
    np.testing.assert_allclose(own, found, rtol=1e-9)
    assert np.abs(guided - v)[inside].min() > 1e-3

    keys = jax.random.split(jax.random.key(0), 2000)
    span = Span(jnp.full(2000, 0.7), jnp.where(jnp.arange(2000) % 2, 0.7, 0.2), keys, 1)
    scale, low, high = objective._guidance(span)
    assert (scale >= 1).all() and (scale <= 8).all()
    assert float((scale < 8**0.5).mean()) == pytest.approx(0.5, abs=0.04)
    assert not low[1::2].any() and (high[1::2] == 1).all()
    assert (low <= 0.5).all() and (high >= 0.5).all() and float(low[::2].mean()) > 0.2
    with pytest.raises(ValueError, match="guidance_intervals=True needs guidance, guidance_high"):
        objectives.ImprovedMeanFlow(COSINE, **PARTS, guidance_intervals=True)


def test_improved_meanflow_sees_the_pixels_that_it_would_draw():
    """x_t - t·u beside the data, below its time; fails if the weight or the scale is lost."""
    keys = jax.random.split(jax.random.key(0), 5)
    x0 = jnp.linspace(-1.0, 1.0, 10).reshape(5, 2)
    t, s = jnp.array([0.1, 0.3, 0.5, 0.7, 0.9]), jnp.zeros(5)
    truth = Prediction(x0, jnp.ones_like(x0))
    wrong = lambda x, t, cond: Prediction(
        x0 + 0.3, (x - (1 - t)[:, None] * (x0 + 0.3)) / t[:, None]
    )
    seen = []

    def distance(a, b):
        seen.append(a)
        return jnp.sum((a - b) ** 2, axis=1)

    roles = Roles(wrong, wrong, decode=lambda z: 2 * z, perceptual=distance)
    span = Span(t, s, keys, 1)
    make = lambda **options: objectives.ImprovedMeanFlow(FLOW, **PARTS, **options)
    plain, _ = make().loss(roles, truth, span, {}, jnp.array(0))
    assert not seen
    loss, metrics = make(perceptual_weight=0.4, perceptual_below=0.8).loss(
        roles, truth, span, {}, jnp.array(0)
    )
    far = 2 * 0.6**2
    expected = np.array([far, far, far, far, 0])
    np.testing.assert_allclose(seen[0], 2 * (x0 + 0.3), rtol=1e-9)
    np.testing.assert_allclose(metrics["perceptual"], expected, rtol=1e-9)
    np.testing.assert_allclose(loss - plain, 0.4 * expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
def test_guidance_scales_have_the_density_of_their_power(power):
    """By the integral of w^-power from 1 to each quantile; fails for another exponent."""
    u = jnp.linspace(0, 1, 5)
    w = power_law(u, 1.0, 4.0, power)
    integral = lambda w: np.log(w) if power == 1 else (w ** (1 - power) - 1) / (1 - power)
    np.testing.assert_allclose(integral(w) / integral(4.0), u, atol=1e-12)


def test_equal_scores_move_no_sample_and_others_lead_to_the_data():
    """The generator's gradient is (x0_fake - x0_real)/|x - x0_real|, over the values.

    Fails if it has the other sign, or flows through the scores.
    """
    real = oracles.Gaussian(COSINE, jnp.array([0.4, -0.3, 0.1]), 0.5)
    objective = objectives.DistributionMatching(COSINE, **PARTS, **V)
    truth, span, _ = batch()

    def loss(shift, fake):
        moved = lambda x, t, cond: Prediction(oracles.FlowMap(real)(x, t, cond).x0 + shift, x)
        roles = Roles(moved, moved, real, {"fake_score": fake})
        return objective.loss(roles, truth, span, {}, STEP)[0]["generator"].sum()

    gradient = jax.grad(loss)
    np.testing.assert_array_equal(gradient(jnp.zeros(3), real), 0)
    shift = jnp.array([0.3, 0.0, -0.2])
    fake = oracles.Gaussian(COSINE, real.mean + shift, 0.5)
    found = gradient(shift, fake)
    assert float(found[0]) > 1e-3 and float(found[2]) < -1e-3
    np.testing.assert_allclose(found[1], 0, atol=1e-12)


def test_moments_match_at_the_truth_up_to_what_samples_differ():
    """One group of 600, so that means are nearly those of the distributions.

    Fails if the two starts are not of one example, or another kernel has its sign.
    """
    real = oracles.Gaussian(COSINE, jnp.array([0.4, -0.3]), 0.5)
    objective = objectives.MomentMatching(COSINE, **PARTS, group=600, decrement=1.0)
    keys = jax.random.split(jax.random.key(0), 600)
    x0 = real.mean + 0.5 * jax.random.normal(jax.random.key(1), (600, 2))
    truth = Prediction(x0, jax.random.normal(jax.random.key(2), (600, 2)))
    span = Span(jnp.full(600, 0.8), jnp.full(600, 0.3), keys, 1)

    def loss(by):
        def moved(x, t, cond):
            found, (alpha, sigma) = oracles.FlowMap(real)(x, t, cond), COSINE.at(t, x)
            move = by[0] + by[1] * x
            return Prediction(found.x0 + move, found.noise - alpha / sigma * move)

        return objective.loss(Roles(moved, moved), truth, span, {}, STEP)[0].mean()

    gradient = jax.jit(jax.grad(loss))
    right, wrong = gradient(jnp.zeros(2)), gradient(jnp.array([0.3, -0.2]))
    assert float(jnp.abs(right).max()) < 0.1 * float(jnp.abs(wrong).max())
    with pytest.raises(ValueError, match="batch of 600 is not made of groups of 7"):
        objectives.MomentMatching(COSINE, **PARTS, group=7).loss(
            Roles(real, real), truth, span, {}, STEP
        )


def test_distances():
    error = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(Squared()(error), [12.5, 0])
    c = 0.1 * 2**0.5
    np.testing.assert_allclose(PseudoHuber(0.1)(error), [(25 + c**2) ** 0.5 - c, 0], atol=1e-12)
    np.testing.assert_allclose(Adaptive(0.5, 1.0)(error), [25 / 26**0.5, 0])
    for distance in (PseudoHuber(0.0), Adaptive()):
        gradient = jax.grad(lambda e, d=distance: d(e).sum())(error)
        assert np.isfinite(gradient).all() and not np.any(gradient[1])


EDM = Process(schedules.EDM(sigma_max=80.0))


def spans_of(rule, t, step=0, process=EDM):
    t = jnp.asarray(t)
    keys = jax.random.split(jax.random.key(0), len(t))
    return rule(process, t, keys, jnp.asarray(step))


def test_intervals_are_neighbours_on_the_grid_and_begin_at_the_data():
    """The noise levels of Karras et al. (2022); fails if a time falls into another interval."""
    levels = (0.002 ** (1 / 7) + np.arange(11) / 10 * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7
    t = np.array([0.001, 0.5 * (levels[4] + levels[5]), 79.0, 80.0]) / 80
    span = spans_of(spans.Intervals(10), t)
    np.testing.assert_allclose(span.t * 80, levels[[1, 5, 10, 10]], rtol=1e-6)
    np.testing.assert_allclose(span.s * 80, [0, levels[4], levels[9], levels[9]], rtol=1e-6)
    even = spans_of(spans.Intervals(4, spans.EvenGrid()), [0.25, 0.26, 1.0])
    np.testing.assert_allclose([even.t, even.s], [[0.25, 0.5, 1], [0, 0.25, 0.75]])


def test_curricula_reach_their_last_number_when_they_say():
    doubling = spans.Doubling(first=10, last=1280, every=50)
    assert [int(doubling.intervals(jnp.asarray(n))) for n in (0, 49, 50, 349, 350, 999)] == [
        10, 10, 20, 640, 1280, 1280
    ]  # fmt: skip
    assert doubling.ends == 350
    root = spans.SquareRoot(first=2, last=150, steps=1000)
    assert [int(root.intervals(jnp.asarray(n))) for n in (0, 250, 1000, 2000)] == [2, 75, 150, 150]
    assert root.ends == 1000


def test_the_ratio_of_easy_consistency_closes_with_its_stages():
    """1 - (1 + 8·sigmoid(-t))/2^stage at noise level t; below 0 it is the data."""
    rule = spans.Ratio(q=2.0, every=100, stages=8)
    t = np.array([0.5, 40.0]) / 80
    n = 1 + 8 / (1 + np.exp(np.array([0.5, 40.0])))
    np.testing.assert_allclose(spans_of(rule, t, 0).s, t * np.maximum(1 - n / 2, 0), rtol=1e-6)
    np.testing.assert_allclose(spans_of(rule, t, 399).s, t * (1 - n / 16), rtol=1e-6)
    np.testing.assert_allclose(spans_of(rule, t, 5000).s, t * (1 - n / 256), rtol=1e-6)
    assert rule.ends == 700


def test_pairs_are_in_order_and_a_share_of_them_apart():
    keys = jax.random.split(jax.random.key(0), 4000)
    t = time_sampling.Uniform()(FLOW, Draw(keys, jnp.zeros(4000))).t
    span = spans.Pairs(apart=0.25)(FLOW, t, keys, STEP)
    assert (span.s <= span.t).all()
    assert float((span.s < span.t).mean()) == pytest.approx(0.25, abs=0.03)
    together = span.s == span.t
    np.testing.assert_array_equal(span.t[together], t[together])


def of(name, **options):
    return getattr(objectives, name)(FLOW, **PARTS, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spans.Intervals(1), "Intervals: count=1 is not at least 2"),
        (lambda: spans.Doubling(first=1), "Doubling.first is 1; expected an integer from 2"),
        (lambda: spans.Doubling(first=9, last=8), "Doubling: first=9 must be at most last=8"),
        (lambda: spans.SquareRoot(last=1), "SquareRoot.last is 1; expected an integer from 2"),
        (lambda: spans.KarrasGrid(2.0, 1.0), r"KarrasGrid: sigma_min=2.0 must be below sigma_max"),
        (lambda: spans.Gap(0.0), r"Gap.size is 0.0; expected a number above 0 and below 1"),
        (lambda: spans.Ratio(q=1.0), r"Ratio.q is 1.0; expected a number above 1"),
        (lambda: spans.Pairs(apart=0.0), r"Pairs.apart is 0.0; expected a number above 0 and of"),
        (lambda: PseudoHuber(-1.0), r"PseudoHuber.scale is -1.0; expected a number of at least 0"),
        (lambda: Adaptive(eps=0.0), r"Adaptive.eps is 0.0; expected a number above 0"),
        (lambda: of("Shortcut", steps=6), "steps=6 must be a power of 2"),
        (lambda: of("Shortcut", bootstrap=1.0), r"Shortcut.bootstrap is 1.0; expected a number"),
        (lambda: of("MeanFlow", own_share=1.0), r"MeanFlow.own_share is 1.0; expected a number"),
        (lambda: of("AlphaFlow", begins=9, ends=9), "AlphaFlow: begins=9 must be below ends=9"),
        (lambda: of("AlphaFlow", least=0.0), r"AlphaFlow.least is 0.0; expected a number above"),
        (lambda: of("TruncatedConsistency", boundary=0.0), "TruncatedConsistency.boundary is 0.0"),
        (lambda: of("TrajectoryConsistency", segments=-1), "TrajectoryConsistency.segments is -1"),
        (lambda: of("ProgressiveDistillation", steps=0), "ProgressiveDistillation.steps is 0; exp"),
        (
            lambda: of("ImprovedMeanFlow", guidance_high=0.5),
            "ImprovedMeanFlow.guidance_high is 0.5",
        ),
        (lambda: of("AdversarialDistillation", penalty=-1.0), "AdversarialDistillation.penalty is"),
        (lambda: of("ConsistencyTraining", target="teacher"), "target is 'teacher'; expected one"),
        (
            lambda: objectives.ContinuousConsistency(FLOW, time_sampling.Uniform(), floor=0.0),
            "ContinuousConsistency.floor is 0.0; expected a number above 0",
        ),
    ],
)
def test_what_cannot_work_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
