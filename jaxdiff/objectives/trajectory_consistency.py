"""Consistency along a trajectory down to any time, or to the nearest of several."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from jaxdiff import random
from jaxdiff.diffusion import flow_map, solvers
from jaxdiff.diffusion import spans as span_rules
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.solvers import DDIM
from jaxdiff.diffusion.spans import Gap, Spans
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives import distances
from jaxdiff.objectives.consistency import Target, teacher_step
from jaxdiff.objectives.distances import Distance, Squared
from jaxdiff.objectives.two_times import Time, mean_square, stop, two_times
from jaxdiff.options import Count, checked
from jaxdiff.typing import Cond, Metrics, Prediction, Roles, Span


@checked
@dataclass(frozen=True)
class TrajectoryConsistency:
    """‖X(x_t, t, s) - X⁻(x_r, r, s)‖² with x_r one step below x_t (Zheng et al. 2024, TCD).

    The span is from t to r, the step one of `solver` along the teacher's flow, by default `DDIM`'s;
    without a teacher it is along the example's own way. Biased by the error of that step. s is
    anywhere in [0, r], or with `segments` the beginning of the segment of [0, 1] in which t is
    (Heek et al. 2024, multistep consistency).
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    segments: Count = 0
    spans: Annotated[Spans, span_rules] = Gap()
    distance: Annotated[Distance, distances] = Squared()
    solver: Annotated[Any, solvers] = None
    target: Target = "average"
    learns = "flow map"
    needs_scalars = ("until",)
    __call__ = two_times

    def until(self, t: Time, r: Time, keys: Key[Array, " b"]) -> Time:
        """Returns s <= r."""
        if not self.segments:
            return r * random.uniform(random.stream(keys, "until")).astype(r.dtype)
        return jnp.ceil(t * self.segments * (1 - 1e-6) - 1).clip(0) / self.segments

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss [b] of examples over spans."""
        t, s = span.t, self.until(span.t, span.s, span.keys)
        span = span._replace(s=jnp.maximum(span.s, s))
        x_t = self.process.perturb(truth, t)
        if roles.teacher is None:
            x_r = self.process.perturb(truth, span.s)
        else:
            solver = self.solver or DDIM(self.process)
            x_r = teacher_step(solver, roles.teacher, x_t, span, cond)
        model = roles.target if self.target == "average" else roles.student
        jump = lambda model, x, t: flow_map.jump(self.process, model, x, t, s, cond)
        error = jump(roles.student, x_t, t) - stop(jump(model, x_r, span.s))
        weight = self.weighting(self.process, flow_map.value_at(s), t)
        return weight * self.distance(error), {"squared_error": mean_square(error)}
