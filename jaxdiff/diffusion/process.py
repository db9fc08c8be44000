"""The Gaussian process `x_t = alpha(t)·x0 + sigma(t)·noise` and its algebra."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxdiff.diffusion.schedules import Schedule
from jaxdiff.trees import pytree
from jaxdiff.typing import Prediction

Parameterization = Callable[[Schedule, Array], tuple[Array, Array]]


def expand(t: Shaped[Array, "*t"], x: Float[Array, "*shape"]) -> Shaped[Array, "*expanded"]:
    """Appends axes to `t` until it broadcasts against `x` from the left."""
    return t.reshape(t.shape + (1,) * (x.ndim - t.ndim))


@pytree()
@dataclass(frozen=True)
class Process:
    """A schedule, and the 2×2 system `[x; y] = [[alpha, sigma], [a, b]]·[x0; noise]` over it.

    Times are arrays of shape [] or [b] (or [b, f], where each frame has its own); a
    parameterization is a function of `parameterizations.py`.
    """

    schedule: Schedule

    def at(self, t: Float[Array, "*t"], x: Float[Array, "*shape"]) -> tuple[Array, Array]:
        """Returns alpha and sigma at `t`, shaped to broadcast against `x`."""
        return expand(self.schedule.alpha(t), x), expand(self.schedule.sigma(t), x)

    def logsnr(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns log(alpha²/sigma²), infinite at a clean or a pure-noise end."""
        return 2 * (jnp.log(self.schedule.alpha(t)) - jnp.log(self.schedule.sigma(t)))

    def time(self, logsnr: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns the time of a log-SNR, by bisection; beyond the schedule's ends, the end."""

        def halve(_, interval):
            low, high = interval
            middle = (low + high) / 2
            noisier = self.logsnr(middle) < logsnr
            return jnp.where(noisier, low, middle), jnp.where(noisier, middle, high)

        ends = jnp.zeros_like(logsnr), jnp.ones_like(logsnr)
        # Times near 0 matter on a relative scale: halving 64 times resolves down to 1e-19.
        low, high = jax.lax.fori_loop(0, 64, halve, ends)
        return jnp.where(high == 1, 1.0, (low + high) / 2)

    def angle(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns the noise angle arctan(sigma/alpha): 0 at clean data, π/2 at pure noise.

        x_t/√(alpha² + sigma²) is cos(angle)·x0 + sin(angle)·noise: in the angle every Gaussian
        process is the same circle, finite and smooth at both ends (Salimans & Ho 2022, appendix D).
        """
        return jnp.arctan2(self.schedule.sigma(t), self.schedule.alpha(t))

    def time_of_angle(self, angle: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns the time at which the noise angle is `angle`."""
        # The float next to π/2 may lie above it, where the cosine is negative.
        cosine = jnp.maximum(jnp.cos(angle), 0)
        return self.time(2 * (jnp.log(cosine) - jnp.log(jnp.sin(angle))))

    def perturb(self, prediction: Prediction, t: Float[Array, "*t"]) -> Float[Array, "*shape"]:
        """Returns `x_t = alpha·x0 + sigma·noise`."""
        alpha, sigma = self.at(t, prediction.x0)
        return alpha * prediction.x0 + sigma * prediction.noise

    def solve(
        self,
        parameterization: Parameterization,
        y: Float[Array, "*shape"],
        x: Float[Array, "*shape"],
        t: Float[Array, "*t"],
    ) -> Prediction:
        """Returns the x0 and noise that explain both `x` and the predicted `y`.

        Where the determinant `alpha·b - sigma·a` is zero, `y` has no information beyond `x`,
        and the result is not finite; `check` names such times beforehand.
        """
        alpha, sigma = self.at(t, x)
        a, b = (expand(c, x) for c in parameterization(self.schedule, t))
        determinant = alpha * b - sigma * a
        return Prediction(
            x0=(b * x - sigma * y) / determinant, noise=(alpha * y - a * x) / determinant
        )

    def read(
        self, parameterization: Parameterization, prediction: Prediction, t: Float[Array, "*t"]
    ) -> Float[Array, "*shape"]:
        """Returns `a·x0 + b·noise`: a prediction in the terms of a parameterization."""
        a, b = (expand(c, prediction.x0) for c in parameterization(self.schedule, t))
        return a * prediction.x0 + b * prediction.noise

    def determinant(
        self, parameterization: Parameterization, t: Float[Array, "*t"]
    ) -> Float[Array, "*t"]:
        """Returns `alpha·b - sigma·a`; an error in y is determinant/sigma times the error in x0."""
        a, b = parameterization(self.schedule, t)
        return self.schedule.alpha(t) * b - self.schedule.sigma(t) * a

    def check(self, parameterization: Parameterization, t: Float[Array, " n"]) -> None:
        """Raises ValueError if the parameterization carries no information at one of the times."""
        determinant = self.determinant(parameterization, t)
        bad = ~(jnp.isfinite(determinant) & (determinant != 0))
        if bad.any():
            name = getattr(parameterization, "__name__", str(parameterization))
            time = float(t[bad][0])
            alpha, sigma = self.schedule.alpha(t[bad])[0], self.schedule.sigma(t[bad])[0]
            raise ValueError(
                f"parameterization {name!r} says nothing about x0 and noise at t={time:g}, where "
                f"{self.schedule} has alpha={alpha:g} and sigma={sigma:g}; train with 'v', "
                "'velocity' or 'edm', or use times between the ends"
            )
