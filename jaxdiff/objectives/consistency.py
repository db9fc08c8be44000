"""Consistency models: one x0 for all points of a trajectory (Song et al. 2023)."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff.diffusion import flow_map, solvers
from jaxdiff.diffusion import spans as span_rules
from jaxdiff.diffusion.parameterizations import x0 as x0_row
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.spans import Doubling, Intervals, Ratio, Spans
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives import distances
from jaxdiff.objectives.distances import Distance, PseudoHuber, Squared
from jaxdiff.objectives.two_times import Data, Time, mean_square, stop, teacher_of, two_times
from jaxdiff.options import NonNegativeFloat, PositiveFloat, Range, Size, checked
from jaxdiff.typing import Cond, Denoiser, Metrics, Prediction, Roles, Solver, Span

Target = Literal["student", "average"]
Loss = tuple[Float[Array, " b"], Metrics]


@checked
@dataclass(frozen=True)
class ConsistencyTraining:
    """d(f(x_t, t), f⁻(x_s, s)), both of one example and one noise (Song et al. 2023, alg. 3).

    The target f⁻ is the student as it is, or its average. The error is read in x0; with `per_gap`
    the loss is divided by t - s. Over finitely many intervals this is biased, by O(t - s) an
    interval of the loss divided so.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    spans: Annotated[Spans, span_rules] = Intervals()
    distance: Annotated[Distance, distances] = Squared()
    target: Target = "average"
    per_gap: bool = False
    learns = "consistency"
    __call__ = two_times

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        x_t, x_s = (self.process.perturb(truth, time) for time in (span.t, span.s))
        target = target_of(self, roles, x_s, span.s, cond)
        return compared(self, roles, target, x_t, span, cond)


@checked
@dataclass(frozen=True)
class ConsistencyDistillation:
    """d(f(x_t, t), f⁻(x_s, s)), with x_s one step of a teacher's flow below x_t.

    Song et al. (2023, algorithm 2). The step is `solver`'s, by default `Heun`; its error is a bias.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    spans: Annotated[Spans, span_rules] = Intervals()
    distance: Annotated[Distance, distances] = Squared()
    solver: Annotated[Any, solvers] = None
    target: Target = "average"
    per_gap: bool = False
    learns = "consistency"
    needs_teacher = True
    __call__ = two_times

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        x_t = self.process.perturb(truth, span.t)
        solver = self.solver or solvers.Heun(self.process)
        x_s = teacher_step(solver, teacher_of(roles), x_t, span, cond)
        target = target_of(self, roles, x_s, span.s, cond)
        return compared(self, roles, target, x_t, span, cond)


def ImprovedConsistency(
    process: Process,
    time_sampling: TimeSampling,
    weighting: Weighting,
    spans: Annotated[Spans, span_rules] = Intervals(Doubling()),
    scale: NonNegativeFloat = 0.00054,
) -> ConsistencyTraining:
    """Improved consistency training, iCT (Song & Dhariwal 2024).

    Pseudo-Huber distance, no average in the target, a doubling number of intervals, losses divided
    by the gap; log-normal times are `time_sampling="EDMLogNormal(mean=-1.1, std=2.0)"`. `scale` is
    that of the distance: one for images, whose many values make a noisy error's norm even.
    """
    options = {"distance": PseudoHuber(scale), "target": "student", "per_gap": True}
    return ConsistencyTraining(process, time_sampling, weighting, spans, **options)


def EasyConsistency(
    process: Process,
    time_sampling: TimeSampling,
    weighting: Weighting,
    q: Annotated[float, Range(gt=1)] = 2.0,
    every: Size = 25_000,
    stages: Size = 8,
    k: NonNegativeFloat = 8.0,
    b: float = 1.0,
    scale: NonNegativeFloat = 0.0,
    per_gap: bool = True,
) -> ConsistencyTraining:
    """Easy consistency tuning, ECT (Geng et al. 2024): from a diffusion model, with a closing gap.

    The student begins as the model that `weights.network` names; `scale` is that of the distance.
    """
    return ConsistencyTraining(
        process,
        time_sampling,
        weighting,
        spans=Ratio(q, every, stages, k, b),
        distance=PseudoHuber(scale),
        target="student",
        per_gap=per_gap,
    )


@checked
@dataclass(frozen=True)
class TruncatedConsistency:
    """Consistency above a noise level, given a consistency model below it (Lee et al. 2024, TCM).

    `boundary` is sigma/alpha at the level. Where s is below it, the target is the teacher's f(x_s,
    s), and the loss has the factor `boundary_weight`; elsewhere it is the student's own.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    boundary: PositiveFloat = 1.0
    boundary_weight: PositiveFloat = 0.1
    spans: Annotated[Spans, span_rules] = Ratio()
    distance: Annotated[Distance, distances] = PseudoHuber(0.0)
    per_gap: bool = True
    target = "student"
    learns = "consistency"
    needs_teacher = True
    __call__ = two_times

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        x_t, x_s = (self.process.perturb(truth, time) for time in (span.t, span.s))
        below = self.process.logsnr(span.s) >= -2 * jnp.log(self.boundary)
        f = lambda model: consistency(self.process, model, x_s, span.s, cond)
        target = jnp.where(expand(below, x_s), f(teacher_of(roles)), f(roles.student))
        loss, metrics = compared(self, roles, target, x_t, span, cond)
        return jnp.where(below, self.boundary_weight, 1.0) * loss, metrics


def consistency(process: Process, model: Denoiser, x: Data, t: Time, cond: Cond) -> Data:
    """Returns f(x, t), the x0 at which the flow ends; x itself at t = 0."""
    return flow_map.jump(process, model, x, t, jnp.zeros_like(t), cond)


def target_of(self: Any, roles: Roles, x: Data, t: Time, cond: Cond) -> Data:
    """Returns f⁻(x, t) of the objective's target."""
    model = roles.target if self.target == "average" else roles.student
    return consistency(self.process, model, x, t, cond)


def compared(self: Any, roles: Roles, target: Data, x: Data, span: Span, cond: Cond) -> Loss:
    """Returns the objective's distance between the student's x0 at (x, t) and a target."""
    error = consistency(self.process, roles.student, x, span.t, cond) - stop(target)
    loss = self.weighting(self.process, x0_row, span.t) * self.distance(error)
    if self.per_gap:
        loss /= jnp.maximum(span.t - span.s, 1e-6)
    return loss, {"squared_error": mean_square(error), "gap": span.t - span.s}


def teacher_step(solver: Solver, teacher: Denoiser, x: Data, span: Span, cond: Cond) -> Data:
    """Returns x at s, by one step of a solver along a teacher's flow from x at t."""
    return stop(solver.step(teacher, x, span, cond, solver.init(x))[0])
