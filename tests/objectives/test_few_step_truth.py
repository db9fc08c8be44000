"""Zero at the truth: with the exact flow map as student, what is the gradient of each objective?

Losses are integrated over data and noise by quadrature in float64, so that zero is zero. The
student moves as x0 + φ(x, t, s)·δ for several test functions φ at once, the noise such that x_t
stays; a wrong student is one that has moved already.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import objectives
from jaxdiff.diffusion import flow_map, oracles, schedules, solvers, time_sampling, weighting
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives.distances import Adaptive, PseudoHuber, Squared
from jaxdiff.typing import Prediction, Roles, Span

COSINE, FLOW = Process(schedules.Cosine()), Process(schedules.RectifiedFlow())
EXACT = {process: solvers.FlowMap(process) for process in (COSINE, FLOW)}
WEIGHTS, MEANS, STDS = np.array([0.4, 0.6]), np.array([[-0.6], [0.5]]), np.array([0.6, 0.8])
STEP = jnp.asarray(100)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def oracle(process):
    parts = (jnp.asarray(a) for a in (WEIGHTS, MEANS, STDS))
    return oracles.FlowMap(oracles.GaussianMixture(process, *parts), steps=16)


def quadrature(nodes=24):
    """Data x0 [b, 1], noise [b, 1] and the weight [b] of each pair; exact for smooth functions."""
    z, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    k, i, j = np.meshgrid(range(2), range(nodes), range(nodes), indexing="ij")
    x0 = MEANS[k.ravel()] + STDS[k.ravel(), None] * z[i.ravel(), None]
    return Prediction(jnp.asarray(x0), jnp.asarray(z[j.ravel(), None])), jnp.asarray(
        (WEIGHTS[k] * w[i] * w[j]).ravel()
    )


@dataclass(frozen=True)
class Moved:
    """A student that is `of`, moved by the test functions times `by`."""

    of: Any
    process: Process
    by: Any

    def __call__(self, x, t, cond):
        found, s = self.of(x, t, cond), flow_map.until_of(cond, t)
        alpha, sigma = self.process.at(t, x)
        t, s = t[:, None], s[:, None]
        tests = [jnp.sin(1.3 * x + t), jnp.cos(x) + s, x * jnp.exp(-(x**2)) + t - s]
        move = sum(by * test for by, test in zip(self.by, tests, strict=True))
        return Prediction(found.x0 + move, found.noise - alpha / sigma * move)


TRUE, WRONG = np.zeros(3), np.array([0.2, -0.1, 0.15])


def gradient_of(objective, teacher=None):
    """The function of `by` [3], t and s: the gradient [3] over spans from t to s."""
    process, (truth, weight) = objective.process, quadrature()
    student = oracle(process)
    keys = jax.random.split(jax.random.key(0), len(weight))

    def loss(by, t, s):
        moved = Moved(student, process, by)
        roles = Roles(moved, moved, teacher)
        full = lambda value: jnp.full(len(weight), value)
        span = Span(full(t), full(s), keys, 1)
        return weight @ objective.loss(roles, truth, span, {}, STEP)[0]

    return jax.jit(jax.jacfwd(loss))


def size(gradient):
    return float(jnp.abs(gradient).max())


def make(name, process=COSINE, **options):
    given = {
        "process": process,
        "time_sampling": time_sampling.Uniform(),
        "weighting": weighting.Simple(),
    }
    target = getattr(objectives, name)
    given = {n: v for n, v in given.items() if n in target.__dataclass_fields__}
    return target(**given, **options)


def quick(names):
    """Names with a comma are variants, for the slow suite."""
    return [pytest.param(n, marks=pytest.mark.slow if "," in n else ()) for n in names]


SELF = {"distance": Squared()}
ZERO = {
    "MeanFlow": (make("MeanFlow", **SELF), False),
    "MeanFlow, straight": (make("MeanFlow", FLOW, **SELF), False),
    "MeanFlow, distilled": (make("MeanFlow"), True),
    "ImprovedMeanFlow": (make("ImprovedMeanFlow", FLOW, **SELF), False),
    "sCT": (make("ContinuousConsistency", warmup=0, normalize=False), False),
    "sCT, straight": (make("ContinuousConsistency", FLOW, warmup=50, normalize=False), False),
    "sCD": (make("ContinuousConsistency", FLOW, warmup=0), True),
    "Lagrangian": (make("LagrangianMap", FLOW), False),
    "Lagrangian, distilled": (make("LagrangianMap"), True),
    "Eulerian": (make("EulerianMap"), False),
    "Eulerian, distilled": (make("EulerianMap", FLOW), True),
    "Semigroup": (make("SemigroupMap"), False),
    "Shortcut": (make("Shortcut", FLOW), False),
    "Progressive": (make("ProgressiveDistillation"), True),
    "CD": (make("ConsistencyDistillation", solver=EXACT[COSINE]), True),
    "CD, Huber": (
        make("ConsistencyDistillation", FLOW, solver=EXACT[FLOW], distance=PseudoHuber(0.1)),
        True,
    ),
    "TCD": (make("TrajectoryConsistency", solver=EXACT[COSINE]), True),
    "TCD, multistep": (make("TrajectoryConsistency", FLOW, segments=3, solver=EXACT[FLOW]), True),
}


@pytest.mark.parametrize("name", quick(ZERO))
def test_the_gradient_is_zero_at_the_truth_and_there_alone(name):
    """Fails for a wrong sign, factor or tangent, and where a target is not held fixed."""
    objective, with_teacher = ZERO[name]
    teacher = oracle(objective.process) if with_teacher else None
    gradient = gradient_of(objective, teacher)
    right, wrong = (gradient(by, 0.8, 0.3) for by in (TRUE, WRONG))
    assert size(right) < 3e-4 * size(wrong), (right, wrong)
    assert size(wrong) > 1e-3


def rates(objective, teacher=None):
    """The gradient at the truth over shrinking spans, and how it falls when they are halved."""
    gradient = gradient_of(objective, teacher)
    found = [size(gradient(TRUE, 0.7, 0.7 - gap)) for gap in (0.04, 0.02, 0.01)]
    return found, np.log2(np.divide(found[:-1], found[1:]))


BIASED = {
    "CT": (make("ConsistencyTraining", per_gap=True), False, 1),
    "CT, Huber": (make("ConsistencyTraining", distance=PseudoHuber(1.0), per_gap=True), False, 1),
    "CD, Euler": (
        make("ConsistencyDistillation", solver=solvers.Euler(COSINE), per_gap=True),
        True,
        1,
    ),
    "CD": (make("ConsistencyDistillation", per_gap=True), True, 2),
    "TCD": (make("TrajectoryConsistency", segments=2), True, 2),
    "ECT": (make("ConsistencyTraining", FLOW, per_gap=True, target="student"), False, 1),
}


@pytest.mark.parametrize("name", quick(BIASED))
def test_the_bias_of_intervals_falls_at_its_rate(name):
    """Per unit of time Euler's error is of order 1, as is that of an example's own way; Heun's 2.

    Fails if the loss is not divided as it says, or another step is taken.
    """
    objective, with_teacher, order = BIASED[name]
    found, rate = rates(objective, oracle(objective.process).of if with_teacher else None)
    assert min(found) > 1e-7
    np.testing.assert_allclose(rate, order, atol=0.2)


def test_the_bias_of_alpha_flow_falls_with_its_share():
    """And its limit is MeanFlow; fails if the way from t to r is not the example's."""
    found = []
    for least in (0.08, 0.04, 0.02):
        objective = make("AlphaFlow", FLOW, begins=0, ends=1, least=least, **SELF)
        assert float(objective.share(STEP)) == least
        found.append(size(gradient_of(objective)(TRUE, 0.8, 0.3)))
    np.testing.assert_allclose(np.log2(np.divide(found[:-1], found[1:])), 1, atol=0.2)
    shares = [float(make("AlphaFlow", ends=1000).share(jnp.asarray(n))) for n in (0, 500, 1000)]
    np.testing.assert_allclose(shares, [1, 0.5, 0.005], atol=3e-3)


@pytest.mark.parametrize(
    "objective",
    [
        make("MeanFlow", distance=Adaptive(power=1.0)),
        make("ContinuousConsistency", warmup=0, normalize=True),
    ],
)
def test_weights_by_a_noisy_error_move_the_fixed_point(objective):
    """Without a teacher; with one the same objectives are zero at the truth, above."""
    gradient = gradient_of(objective)
    right, wrong = (gradient(by, 0.8, 0.3) for by in (TRUE, WRONG))
    assert size(right) > 1e-3 * size(wrong)


def test_truncated_consistency_meets_its_teacher_at_the_boundary():
    """Below, the bias of the example's own step, times the weight; fails for another target."""
    truncated = make("TruncatedConsistency", distance=Squared(), boundary=100.0, per_gap=False)
    plain = make("ConsistencyTraining", per_gap=False)
    teacher = oracle(COSINE)
    at = lambda objective, teacher=None: gradient_of(objective, teacher)(TRUE, 0.8, 0.3)
    below, bias = at(truncated, teacher), at(plain)
    np.testing.assert_allclose(below, 0.1 * bias, rtol=1e-9)
    wrong = Moved(teacher, COSINE, (0.2, 0.0, 0.0))
    assert size(at(truncated, wrong) - below) > 1e-3
    np.testing.assert_allclose(at(replace(truncated, boundary=1e-3), wrong), bias, rtol=1e-9)
