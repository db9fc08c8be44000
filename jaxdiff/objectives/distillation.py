"""Students of a teacher's samples: fewer steps, guidance in one evaluation, straighter paths."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff import random
from jaxdiff.diffusion import flow_map, solvers
from jaxdiff.diffusion import spans as span_rules
from jaxdiff.diffusion.guidance import GUIDANCE, ClassifierFree
from jaxdiff.diffusion.parameterizations import x0 as x0_row
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.diffusion.sampling import sample
from jaxdiff.diffusion.solvers import DDIM, Heun
from jaxdiff.diffusion.spans import Gap, Spans
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives import distances
from jaxdiff.objectives.consistency import Target, compared, target_of, teacher_step
from jaxdiff.objectives.distances import Distance, PseudoHuber
from jaxdiff.objectives.two_times import Time, mean_square, stop, teacher_of, two_times
from jaxdiff.options import NonNegativeFloat, Steps, checked
from jaxdiff.typing import Cond, Denoiser, Metrics, Prediction, Roles, Span

Loss = tuple[Float[Array, " b"], Metrics]


@checked
@dataclass(frozen=True)
class ProgressiveDistillation:
    """One step of the student is two of the teacher (Salimans & Ho 2022, algorithm 2).

    The student takes `steps` even steps of DDIM, its teacher twice as many: each round is a run,
    whose teacher is the run before. The error is that of x0; `TruncatedSNR` is the paper's weight.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    steps: Steps = 4
    learns = "denoiser"
    needs_teacher = True
    __call__ = two_times

    def spans(self, process: Process, t: Time, keys: Array, step: Array) -> Span:
        """Returns the student's step in which t lies."""
        end = jnp.clip(jnp.ceil(t * self.steps * (1 - 1e-6)), 1, self.steps)
        return Span(end / self.steps, (end - 1) / self.steps, keys, 1)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        t, s = span.t, span.s
        x = self.process.perturb(truth, t)
        teacher = teacher_of(roles)
        middle = flow_map.jump(self.process, teacher, x, t, (t + s) / 2, cond)
        x_s = flow_map.jump(self.process, teacher, middle, (t + s) / 2, s, cond)
        wanted = stop(self.process.solve(flow_map.value_at(s), x_s, x, t))
        error = flow_map.ask(roles.student, x, t, s, cond).x0 - wanted.x0
        loss = self.weighting(self.process, x0_row, t) * mean_square(error)
        return loss, {"squared_error": mean_square(error)}


@checked
@dataclass(frozen=True)
class GuidanceDistillation:
    """A guided teacher in one evaluation, for scales from `low` to `high` (Meng et al. 2023, 3.1).

    The student reads the scale as cond["guidance_scale"].
    """

    process: Process
    parameterization: Parameterization
    time_sampling: TimeSampling
    weighting: Weighting
    low: NonNegativeFloat = 1.0
    high: NonNegativeFloat = 5.0
    learns = "denoiser"
    needs_teacher = True
    needs_scalars = (GUIDANCE,)
    __call__ = two_times

    def __post_init__(self):
        check_scales(self)

    @staticmethod
    def spans(process: Process, t: Time, keys: Array, step: Array) -> Span:
        """Returns spans of no length."""
        return Span(t, t, keys, 1)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples at span.t."""
        t = span.t
        x = self.process.perturb(truth, t)
        scale, teacher = guided(self, roles, span)
        read = lambda p: self.process.read(self.parameterization, p, t)
        found = roles.student(x, t, {**cond, GUIDANCE: scale})
        error = read(found) - stop(read(teacher(x, t, cond)))
        loss = self.weighting(self.process, self.parameterization, t) * mean_square(error)
        return loss, {"squared_error": mean_square(error)}


@checked
@dataclass(frozen=True)
class LatentConsistency:
    """`ConsistencyDistillation` of a guided teacher, with skipped steps (Luo et al. 2023, LCM).

    The student reads the scale, drawn from `low` to `high`, as cond["guidance_scale"]; the teacher
    steps from t to t - gap by `solver`, by default `DDIM`.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    spans: Annotated[Spans, span_rules] = Gap()
    distance: Annotated[Distance, distances] = PseudoHuber(0.001)
    low: NonNegativeFloat = 3.0
    high: NonNegativeFloat = 15.0
    solver: Annotated[Any, solvers] = None
    target: Target = "average"
    per_gap = False
    learns = "consistency"
    needs_teacher = True
    needs_scalars = (GUIDANCE,)
    __call__ = two_times

    def __post_init__(self):
        check_scales(self)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        x_t = self.process.perturb(truth, span.t)
        scale, teacher = guided(self, roles, span)
        solver = self.solver or DDIM(self.process)
        x_s = teacher_step(solver, teacher, x_t, span, cond)
        cond = {**cond, GUIDANCE: scale}
        target = target_of(self, roles, x_s, span.s, cond)
        return compared(self, roles, target, x_t, span, cond)


@checked
@dataclass(frozen=True)
class Reflow:
    """Denoising with the teacher's own pairs of noise and sample (Liu et al. 2023, section 2.2).

    The sample is where `steps` even steps of `solver`, by default `Heun`, lead from the noise. The
    data give no more than the shape; the new flow is straighter, and carries to the same data.
    """

    process: Process
    parameterization: Parameterization
    time_sampling: TimeSampling
    weighting: Weighting
    steps: Steps = 8
    solver: Annotated[Any, solvers] = None
    learns = "denoiser"
    needs_teacher = True
    __call__ = two_times

    @staticmethod
    def spans(process: Process, t: Time, keys: Array, step: Array) -> Span:
        """Returns spans of no length."""
        return Span(t, t, keys, 1)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples at span.t."""
        t = span.t
        solver = self.solver or Heun(self.process)
        times = jnp.linspace(1.0, 0.0, self.steps + 1, dtype=t.dtype)
        start = self.process.perturb(Prediction(0 * truth.x0, truth.noise), jnp.ones_like(t))
        x0 = stop(sample(solver, teacher_of(roles), start, times, cond, span.keys))
        pair = Prediction(x0, truth.noise)
        read = lambda p: self.process.read(self.parameterization, p, t)
        error = read(roles.student(self.process.perturb(pair, t), t, cond)) - read(pair)
        loss = self.weighting(self.process, self.parameterization, t) * mean_square(error)
        return loss, {"squared_error": mean_square(error)}


def guided(self: Any, roles: Roles, span: Span) -> tuple[Time, Denoiser]:
    """Returns a guidance scale for each example, and the teacher guided by it."""
    u = random.uniform(random.stream(span.keys, "guidance"))
    scale = (self.low + (self.high - self.low) * u).astype(span.t.dtype)
    return scale, ClassifierFree(lambda t: scale)(teacher_of(roles))


def check_scales(objective: Any) -> None:
    """Raises ValueError if an objective's guidance scales are not in order."""
    if objective.low > objective.high:
        raise ValueError(
            f"{type(objective).__name__}: low={objective.low} and high={objective.high} must be "
            "guidance scales in this order"
        )
