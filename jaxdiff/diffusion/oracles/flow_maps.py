"""The exact flow map of a known distribution, as the student that few-step objectives look for."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion.oracles.densities import Gaussian, GaussianMixture
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.schedules import Cosine
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Prediction


@pytree()
@dataclass(frozen=True)
class FlowMap:
    """The student that is right at every pair of times: it reads cond["until"], the second one.

    Without it, or where both times are the same, it is the denoiser `of`. The flow is the closed
    form `of.flow`, or with `steps` the method of Runge and Kutta (order 4) in the noise angle, for
    mixtures in any dimension: 256 steps are exact to 1e-10 in float64 for deviations of 0.3.
    """

    of: Gaussian | GaussianMixture
    steps: int = 0

    def __call__(self, x: Float[Array, "b d"], t: Float[Array, " b"], cond: Cond) -> Prediction:
        """Returns x0 and noise, of which x at both times is made."""
        process, s = self.of.process, flow_map.until_of(cond, t)
        now = self.of(x, t, cond)
        apart = s < t
        earlier = jnp.where(apart, s, 0.5 * t)
        x_s = self.flow(x, t, earlier)
        mean = process.solve(flow_map.value_at(earlier), x_s, x, t)
        chosen = lambda mean, now: jnp.where(expand(apart, x), mean, now)
        return Prediction(chosen(mean.x0, now.x0), chosen(mean.noise, now.noise))

    def flow(
        self, x: Float[Array, "b d"], t: Float[Array, " b"], s: Float[Array, " b"]
    ) -> Float[Array, "b d"]:
        """Returns the solution of the probability flow at time s, from x at time t."""
        if not self.steps:
            return self.of.flow(x, t, s)
        angle = self.of.process.angle
        scale = lambda t: jnp.hypot(*self.of.process.at(t, x))
        start, h = angle(t), (angle(s) - angle(t)) / self.steps
        # Every Gaussian process is the cosine schedule at another time and scale.
        circle = replace(self.of, process=Process(Cosine()))

        def slope(y, angle):
            found = circle(y, 2 / jnp.pi * angle, {})
            return expand(jnp.cos(angle), y) * found.noise - expand(jnp.sin(angle), y) * found.x0

        def step(y, index):
            at, width = start + index * h, expand(h, y)
            k1 = slope(y, at)
            k2 = slope(y + width / 2 * k1, at + h / 2)
            k3 = slope(y + width / 2 * k2, at + h / 2)
            k4 = slope(y + width * k3, at + h)
            return y + width / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        y, _ = jax.lax.scan(step, x / scale(t), jnp.arange(self.steps))
        return scale(s) * y
