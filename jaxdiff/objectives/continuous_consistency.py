"""Consistency models in continuous time: no intervals, the tangent by `jax.jvp`."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion.parameterizations import edm
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.objectives.two_times import mean_square, norm, slope, stop, two_times
from jaxdiff.options import Count, PositiveFloat, checked
from jaxdiff.typing import Cond, Metrics, Prediction, Roles, Span


@checked
@dataclass(frozen=True)
class ContinuousConsistency:
    """‖F - F⁻ - g‖², sCD with a teacher and sCT without (Lu & Song 2025, algorithm 1).

    In TrigFlow, x_θ = cos θ·x0 + sin θ·data_std·noise at tan θ = sigma/(alpha·data_std), to which
    every process is brought: f = cos θ·x_θ - sin θ·data_std·F, and the tangent is

        g = -cos²θ·(data_std·F - dx_θ/dθ) - r·cos θ·sin θ·(x_θ + data_std·dF/dθ).

    r rises from 0 to 1 in `warmup` steps; with `normalize` g is divided by ‖g‖ + `floor`. The
    adaptive weighting is `LearnedUncertainty(of=ContinuousConsistency())`.

    Without a teacher the tangent of an example is noisy, and its mean alone is right: to normalize
    it moves the fixed point.

    Embeddings of time that oscillate fast make a large tangent: prefer `time_input` of a small
    scale and `SinCos` to `Fourier`. The metric "tangent_norm" shows it before a loss does.
    """

    process: Process
    time_sampling: TimeSampling
    data_std: PositiveFloat = 0.5
    warmup: Count = 10_000
    normalize: bool = True
    floor: PositiveFloat = 0.1
    learns = "consistency"
    takes_tangents = True
    __call__ = two_times

    @property
    def ends(self) -> int:
        """Returns the step at which the whole tangent is used."""
        return self.warmup

    @staticmethod
    def spans(process: Process, t: Array, keys: Array, step: Array) -> Span:
        """Returns spans of no length."""
        return Span(t, t, keys, 1)

    def loss(
        self, roles: Roles, truth: Prediction, span: Span, cond: Cond, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss [b] of examples at span.t."""
        process, t, std = self.process, span.t, self.data_std
        x = process.perturb(truth, t)

        def network(x, t):
            prediction = flow_map.ask(roles.student, x, t, jnp.zeros_like(t), cond)
            return -process.read(edm(std), prediction, t)

        def angle(t):
            return jnp.arctan2(process.schedule.sigma(t), std * process.schedule.alpha(t))

        theta, speed = jax.jvp(angle, (t,), (jnp.ones_like(t),))
        cos, sin = (expand(f(theta), x) for f in (jnp.cos, jnp.sin))
        # cos·sin·dF/dθ at once: dF/dθ alone grows without bound at the ends.
        pace = jnp.sin(theta) * jnp.cos(theta) / speed
        tangent = expand(pace, x) * slope(process, roles, truth, x, t, cond), pace
        found, change = jax.jvp(network, (x, t), tangent)

        source = truth if roles.teacher is None else roles.teacher(x, t, cond)
        x_theta = cos * source.x0 + sin * std * source.noise
        dx_theta = cos * std * source.noise - sin * source.x0
        fixed, change = stop(found), stop(change)
        ramp = jnp.minimum(1.0, step / self.warmup) if self.warmup else 1.0
        g = -(cos**2) * (std * fixed - dx_theta)
        g -= ramp * (cos * sin * x_theta + std * change)
        size = norm(g)
        if self.normalize:
            g /= expand(size + self.floor, x)
        error = found - stop(fixed + g)
        return mean_square(error), {"squared_error": mean_square(error), "tangent_norm": size}
