"""Mean velocities: MeanFlow, α-Flow, and shortcuts.

u(x_t, t, s) = (x_t - x_s)/(t - s) along the flow; at s = t it is the velocity v.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff import random
from jaxdiff.condition import drop
from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion import spans as span_rules
from jaxdiff.diffusion.parameterizations import velocity
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.spans import Pairs, Spans
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives import distances
from jaxdiff.objectives.consistency import Target
from jaxdiff.objectives.distances import Adaptive, Distance, Squared
from jaxdiff.objectives.two_times import (
    Data,
    Time,
    conditional,
    mean_square,
    norm,
    own_slope,
    slope,
    stop,
    two_times,
)
from jaxdiff.options import Between, Count, Range, Size, checked
from jaxdiff.typing import Cond, Denoiser, Metrics, Prediction, Roles, Span

Loss = tuple[Float[Array, " b"], Metrics]


@checked
@dataclass(frozen=True)
class MeanFlow:
    """‖u - (v - (t - s)·du/dt)‖², the second term fixed (Geng et al. 2025, equations 10 and 11).

    du/dt is along the flow, by `jax.jvp` in the direction (v, 1). v is the teacher's, or without
    one the example's. With conditions, v has guidance in it: guidance_scale·v + own_share·u(c) +
    (1 - guidance_scale - own_share)·u(∅) of the student's u over no time (equation 19), which is
    guidance of guidance_scale/(1 - own_share) in the samples.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    spans: Annotated[Spans, span_rules] = Pairs()
    distance: Annotated[Distance, distances] = Adaptive()
    guidance_scale: float = 1.0
    own_share: Annotated[float, Range(ge=0, lt=1)] = 0.0
    learns = "flow map"
    needs_scalars = ("until",)
    takes_tangents = True
    __call__ = two_times

    @property
    def guided(self) -> float:
        """Returns the guidance scale that samples have."""
        return self.guidance_scale / (1 - self.own_share)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        x = self.process.perturb(truth, span.t)
        v = slope(self.process, roles, truth, x, span.t, cond)
        if (self.guidance_scale, self.own_share) != (1.0, 0.0):
            v = self._guided(roles.student, v, x, span.t, cond)
        return mean_flow_loss(self, roles.student, x, span, cond, v, along=v)

    def _guided(self, student: Denoiser, v: Data, x: Data, t: Time, cond: Cond) -> Data:
        own, null = (own_slope(self.process, student, x, t, c) for c in (cond, drop(cond)))
        rest = 1 - self.guidance_scale - self.own_share
        mixed = self.guidance_scale * v + self.own_share * own + rest * null
        return stop(jnp.where(expand(conditional(cond, len(x)), x), mixed, v))


@checked
@dataclass(frozen=True)
class AlphaFlow:
    """From flow matching to `MeanFlow` by a curriculum (Zhang et al. 2025, α-Flow).

    The target is share·v + (1 - share)·u(x_r, r, s) at r = t - share·(t - s), with v over the way
    from t to r. The share falls from 1 to `least` along a logistic curve from step `begins` to step
    `ends`, and what is left of it is a bias of that order. The loss is divided by the share.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    begins: Count = 0
    ends: Size = 10_000
    least: Annotated[float, Range(gt=0, lt=1)] = 0.005
    spans: Annotated[Spans, span_rules] = Pairs()
    distance: Annotated[Distance, distances] = Adaptive()
    learns = "flow map"
    needs_scalars = ("until",)
    __call__ = two_times

    def __post_init__(self):
        if not self.begins < self.ends:
            raise ValueError(f"AlphaFlow: begins={self.begins} must be below ends={self.ends}")

    def share(self, step: Integer[Array, ""]) -> Array:
        """Returns how much of the way is taken by the example's own velocity."""
        middle, width = (self.begins + self.ends) / 2, (self.ends - self.begins) / 12
        return jnp.maximum(jax.nn.sigmoid((middle - step) / width), self.least)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        share, t, s = self.share(step), span.t, span.s
        r = t - share * (t - s)
        x_t, x_r = (self.process.perturb(truth, time) for time in (t, r))
        v = self.process.read(flow_map.mean_velocity(r), truth, t)
        rest = mean_velocity(self.process, roles.student, x_r, r, s, cond)
        error = mean_velocity(self.process, roles.student, x_t, t, s, cond)
        error -= stop(share * v + (1 - share) * rest)
        loss = self.weighting(self.process, velocity, t) * self.distance(error) / share
        return loss, {"squared_error": mean_square(error), "share": jnp.full_like(t, share)}


@checked
@dataclass(frozen=True)
class Shortcut:
    """A step of size d is two of size d/2 (Frans et al. 2025, algorithm 1).

    A share `bootstrap` of the examples takes steps of 2^-k, down to 1/`steps`, from multiples of
    their size; the others learn the velocity. The target is the average or the student itself.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    steps: Annotated[int, Between(2, 2**20)] = 128
    bootstrap: Annotated[float, Range(gt=0, lt=1)] = 0.25
    distance: Annotated[Distance, distances] = Squared()
    target: Target = "average"
    learns = "flow map"
    needs_scalars = ("until",)
    __call__ = two_times

    def __post_init__(self):
        if self.steps & (self.steps - 1):
            raise ValueError(f"Shortcut: steps={self.steps} must be a power of 2")

    def spans(self, process: Process, t: Time, keys: Array, step: Array) -> Span:
        """Returns spans of no length, and for a share of the examples those of dyadic steps."""
        u = lambda name: random.uniform(random.stream(keys, name))
        levels = self.steps.bit_length() - 1  # sizes 1, ½, ..., 2/steps; halves down to 1/steps
        count = 2.0 ** jnp.floor(u("size") * levels)
        end = (jnp.floor(u("place") * count) + 1) / count
        apart = u("apart") < self.bootstrap
        return Span(jnp.where(apart, end, t), jnp.where(apart, end - 1 / count, t), keys, 1)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> Loss:
        """Returns the loss [b] of examples over spans."""
        t, s = span.t, span.s
        x = self.process.perturb(truth, t)
        model = roles.target if self.target == "average" else roles.student
        v = slope(self.process, roles, truth, x, t, cond)
        r = (t + s) / 2
        middle = flow_map.jump(self.process, model, x, t, r, cond)
        halves = mean_velocity(self.process, model, x, t, r, cond)
        halves += mean_velocity(self.process, model, middle, r, s, cond)
        target = jnp.where(expand(s < t, x), halves / 2, v)
        error = mean_velocity(self.process, roles.student, x, t, s, cond) - stop(target)
        loss = self.weighting(self.process, velocity, t) * self.distance(error)
        return loss, {"squared_error": mean_square(error)}


def mean_velocity(
    process: Process, student: Denoiser, x: Data, t: Time, s: Time, cond: Cond
) -> Data:
    """Returns a student's u(x, t, s)."""
    prediction = flow_map.ask(student, x, t, s, cond)
    return process.read(flow_map.mean_velocity(s), prediction, t)


def mean_flow_loss(
    self: Any, student: Denoiser, x: Data, span: Span, cond: Cond, v: Data, along: Data
) -> Loss:
    """Returns the objective's distance of u from v - (t - s)·du/dt, in the direction `along`."""
    return loss_and_velocity(self, student, x, span, cond, v, along)[:2]


def loss_and_velocity(
    self: Any, student: Denoiser, x: Data, span: Span, cond: Cond, v: Data, along: Data
) -> tuple[Float[Array, " b"], Metrics, Data]:
    """Returns `mean_flow_loss`, and u itself."""
    u, change = jax.jvp(
        lambda x, t: mean_velocity(self.process, student, x, t, span.s, cond),
        (x, span.t),
        (along, jnp.ones_like(span.t)),
    )
    error = u - stop(v - expand(span.t - span.s, x) * change)
    loss = self.weighting(self.process, velocity, span.t) * self.distance(error)
    metrics = {"squared_error": mean_square(error), "tangent_norm": stop(norm(change))}
    return loss, metrics, u
