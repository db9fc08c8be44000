"""Improved mean velocities, iMF: regression on v alone, and guidance as an input."""

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff import random
from jaxdiff.condition import drop
from jaxdiff.diffusion import spans as span_rules
from jaxdiff.diffusion.guidance import FROM, GUIDANCE, TO
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.spans import Pairs, Spans
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives import distances
from jaxdiff.objectives.distances import Adaptive, Distance
from jaxdiff.objectives.mean_flow import loss_and_velocity
from jaxdiff.objectives.two_times import Data, Time, conditional, own_slope, slope, stop, two_times
from jaxdiff.options import NonNegativeFloat, Range, checked
from jaxdiff.typing import Cond, Denoiser, Metrics, Prediction, Roles, Span


@checked
@dataclass(frozen=True)
class ImprovedMeanFlow:
    """`MeanFlow` whose du/dt is along the student's own velocity (Geng et al. 2025b, iMF).

    Then u + (t - s)·du/dt is a function of x_t alone, regressed on v: less noise, and the same
    fixed point. The student's own velocity is its u over no time, without the paper's second head.
    A network that predicts data by `parameterization="flow_x0"` makes it pixel MeanFlow (Lu et al.
    2026, pMF). There `perceptual_weight` times the perceptual distance of x_t - t·u from the data
    is added, at times below `perceptual_below`; `--config.weights.perceptual` names its features.

    With `guidance_high` above 1 guidance is an input (section 3.3): the student reads w as
    cond["guidance_scale"], drawn from 1 to `guidance_high` with a density of w^-`guidance_power`,
    and with `guidance_intervals` the times between which it acts, cond["guidance_from"] below 1/2
    and cond["guidance_to"] above; where s = t it acts at all times. v is then v + (1 -
    1/w)·(u(c, w) - u(∅)), whose fixed point is the velocity under guidance w.
    """

    process: Process
    time_sampling: TimeSampling
    weighting: Weighting
    spans: Annotated[Spans, span_rules] = Pairs(apart=0.5)
    distance: Annotated[Distance, distances] = Adaptive()
    guidance_high: Annotated[float, Range(ge=1)] = 1.0
    guidance_power: NonNegativeFloat = 1.0
    guidance_intervals: bool = False
    perceptual_weight: NonNegativeFloat = 0.0
    perceptual_below: Annotated[float, Range(gt=0, le=1)] = 0.8
    learns = "flow map"
    takes_tangents = True
    __call__ = two_times

    def __post_init__(self):
        if self.guidance_intervals and self.guidance_high == 1:
            raise ValueError(
                "ImprovedMeanFlow: guidance_intervals=True needs guidance, guidance_high above 1"
            )

    @property
    def needs_perceptual(self) -> bool:
        """Returns whether it compares pixels by features."""
        return self.perceptual_weight > 0

    @property
    def needs_scalars(self) -> tuple[str, ...]:
        """Returns the numbers that the network must read."""
        guided = (GUIDANCE,) if self.guidance_high > 1 else ()
        return ("until", *guided, *((FROM, TO) if self.guidance_intervals else ()))

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss [b] of examples over spans."""
        x = self.process.perturb(truth, span.t)
        v = slope(self.process, roles, truth, x, span.t, cond)
        if self.guidance_high == 1:
            own = stop(own_slope(self.process, roles.student, x, span.t, cond))
        else:
            scale, low, high = self._guidance(span)
            v, own = self._guided(roles.student, v, x, span.t, cond, scale, low, high)
            cond = self._with(cond, scale, low, high)
        found = loss_and_velocity(self, roles.student, x, span, cond, v, along=own)
        loss, metrics, u = found
        if not self.needs_perceptual:
            return loss, metrics
        seen = self._perceptual(roles, truth, span, x - expand(span.t, x) * u)
        return loss + self.perceptual_weight * seen, {**metrics, "perceptual": seen}

    def _perceptual(
        self, roles: Roles, truth: Prediction, span: Span, x0: Data
    ) -> Float[Array, " b"]:
        if roles.perceptual is None:
            raise ValueError("the objective compares pixels by features, and there are none")
        pixels = roles.decode(x0), roles.decode(truth.x0)
        return jnp.where(span.t < self.perceptual_below, roles.perceptual(*pixels), 0.0)

    def _guidance(self, span: Span) -> tuple[Time, Time, Time]:
        """Returns a scale for each example, and the times between which it acts."""
        u = lambda name: random.uniform(random.stream(span.keys, name)).astype(span.t.dtype)
        scale = power_law(u("guidance"), 1.0, self.guidance_high, self.guidance_power)
        whole = (span.s == span.t) | (not self.guidance_intervals)
        low, high = u("guidance from") / 2, (1 + u("guidance to")) / 2
        return scale, jnp.where(whole, 0, low), jnp.where(whole, 1, high)

    def _guided(
        self,
        student: Denoiser,
        v: Data,
        x: Data,
        t: Time,
        cond: Cond,
        scale: Time,
        low: Time,
        high: Time,
    ) -> tuple[Data, Data]:
        """Returns the guided v, and the student's own: both are v without a condition."""
        zeros, ones = jnp.zeros_like(t), jnp.ones_like(t)
        scale = jnp.where((low <= t) & (t <= high), scale, 1.0)
        ask = lambda cond, scale: own_slope(
            self.process, student, x, t, self._with(cond, scale, zeros, ones)
        )
        own, null = stop(ask(cond, scale)), stop(ask(drop(cond), ones))
        guided = v + expand(1 - 1 / scale, x) * (own - null)
        return jnp.where(expand(conditional(cond, len(x)), x), guided, v), own

    def _with(self, cond: Cond, scale: Time, low: Time, high: Time) -> Cond:
        ends = {FROM: low, TO: high} if self.guidance_intervals else {}
        return {**cond, GUIDANCE: scale, **ends}


def power_law(u: Time, low: float, high: float, power: float) -> Time:
    """Returns the quantile of a number from `low` to `high` with a density of number^-power."""
    rest = 1 - power
    if abs(rest) < 1e-6:
        return low * (high / low) ** u
    return (low**rest + u * (high**rest - low**rest)) ** (1 / rest)
