"""Flow map matching: Lagrangian, Eulerian and by composition (Boffi et al. 2025a, 2025b).

With a teacher the flow is the teacher's: map distillation. Without one it is the student's own over
no time, which learns to denoise in the same loss: self-distillation.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff import random
from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion import spans as span_rules
from jaxdiff.diffusion.parameterizations import velocity
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.spans import Pairs, Spans
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives import distances
from jaxdiff.objectives.distances import Distance, Squared
from jaxdiff.objectives.mean_flow import mean_velocity
from jaxdiff.objectives.two_times import Data, Time, mean_square, norm, own_slope, stop, two_times
from jaxdiff.typing import Cond, Metrics, Prediction, Roles, Span

Loss = tuple[Float[Array, " b"], Metrics]


@dataclass(frozen=True)
class LagrangianMap:
    """‖∂X(x, t, s)/∂s - v(X, s)‖² with v fixed (Boffi et al. 2025a, LMD; 2025b, LSD)."""

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    spans: Annotated[Spans, span_rules] = Pairs(apart=1.0)
    distance: Annotated[Distance, distances] = Squared()
    learns = "flow map"
    needs_scalars = ("until",)
    takes_tangents = True
    __call__ = two_times

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        t, s = span.t, span.s
        x = self.process.perturb(truth, t)

        def jump(s):
            return self.process.perturb(flow_map.ask(roles.student, x, t, s, cond), s)

        x_s, change = jax.jvp(jump, (s,), (jnp.ones_like(s),))
        error = change - stop(_slope(self, roles, x_s, s, cond))
        return _with_diagonal(self, roles, truth, x, span, cond, error, change)


@dataclass(frozen=True)
class EulerianMap:
    """‖∂X(x, t, s)/∂t + ∇X·v(x, t)‖², by one `jax.jvp` (Boffi et al. 2025a, EMD; 2025b, ESD)."""

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    spans: Annotated[Spans, span_rules] = Pairs(apart=1.0)
    distance: Annotated[Distance, distances] = Squared()
    learns = "flow map"
    needs_scalars = ("until",)
    takes_tangents = True
    __call__ = two_times

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        t, s = span.t, span.s
        x = self.process.perturb(truth, t)

        def jump(x, t):
            return self.process.perturb(flow_map.ask(roles.student, x, t, s, cond), s)

        v = stop(_slope(self, roles, x, t, cond))
        error = jax.jvp(jump, (x, t), (v, jnp.ones_like(t)))[1]
        return _with_diagonal(self, roles, truth, x, span, cond, error, error)


@dataclass(frozen=True)
class SemigroupMap:
    """From t to s is from t to r to s, at any r between (Boffi et al. 2025a, PFMM; 2025b, PSD).

    The two parts, read as mean velocities, are the fixed target for the whole.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    spans: Annotated[Spans, span_rules] = Pairs(apart=1.0)
    distance: Annotated[Distance, distances] = Squared()
    learns = "flow map"
    needs_scalars = ("until",)
    __call__ = two_times

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        t, s = span.t, span.s
        x = self.process.perturb(truth, t)
        share = random.uniform(random.stream(span.keys, "between")).astype(t.dtype)
        r = t - share * (t - s)
        middle = flow_map.jump(self.process, roles.student, x, t, r, cond)
        u = lambda x, t, s: mean_velocity(self.process, roles.student, x, t, s, cond)
        weight = expand(share, x)
        error = u(x, t, s) - stop(weight * u(x, t, r) + (1 - weight) * u(middle, r, s))
        return _with_diagonal(self, roles, truth, x, span, cond, error)


def _slope(self: Any, roles: Roles, x: Data, t: Time, cond: Cond) -> Data:
    """Returns dx/dt at (x, t), the teacher's or the student's own."""
    if roles.teacher is None:
        return own_slope(self.process, roles.student, x, t, cond)
    return self.process.read(velocity, roles.teacher(x, t, cond), t)


def _with_diagonal(
    self: Any,
    roles: Roles,
    truth: Prediction,
    x: Data,
    span: Span,
    cond: Cond,
    error: Data,
    tangent: Data | None = None,
) -> Loss:
    """Adds the error of the student's velocity over no time: of the teacher's, or the example's."""
    found = truth if roles.teacher is None else roles.teacher(x, span.t, cond)
    wanted = stop(self.process.read(velocity, found, span.t))
    now = own_slope(self.process, roles.student, x, span.t, cond) - wanted
    weight = self.weighting(self.process, velocity, span.t)
    loss = weight * (self.distance(error) + self.distance(now))
    metrics = {"squared_error": mean_square(error), "denoising_error": mean_square(now)}
    return loss, metrics if tangent is None else {**metrics, "tangent_norm": stop(norm(tangent))}
