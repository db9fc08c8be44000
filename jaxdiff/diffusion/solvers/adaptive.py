"""Adaptive steps, by diffrax."""

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers.coordinates import angle_slope, no_history
from jaxdiff.options import PositiveFloat, Size
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Span


@pytree()
@dataclass(frozen=True)
class Adaptive:
    """An embedded Runge-Kutta method of diffrax's that chooses its own steps within each span.

    It runs in the noise angle arctan(sigma/alpha), as `RK4` does, each example with its own steps,
    and stops at the log-SNR `clean`, from where a last step of Euler's leads to the data. With
    steps=1 nothing but the tolerances counts. Needs the extra `ode`.

    Raises:
        ValueError: a tolerance is not positive.
    """

    process: Process
    method: Literal["Heun", "Midpoint", "Ralston", "Bosh3", "Tsit5", "Dopri5", "Dopri8"] = "Tsit5"
    rtol: PositiveFloat = 1e-5
    atol: PositiveFloat = 1e-5
    max_steps: Size = 4096
    clean: float = 16.0
    stochastic = False
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Integrates from t to s."""
        diffrax = importlib.import_module("diffrax")
        angle = self.process.angle
        scale = lambda t, x: jnp.hypot(*self.process.at(t, x))
        last = self.process.schedule.sigma(span.s) == 0
        clean = self.process.time(jnp.full_like(span.s, self.clean))
        s = jnp.where(last, jnp.minimum(clean, span.t), span.s)

        def slope(angle, y, cond):
            t = self.process.time_of_angle(angle)[None]
            return angle_slope(self.process, denoiser, y[None], t, cond)[0][0]

        def solve(y, start, end, cond):
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(slope),
                getattr(diffrax, self.method)(),
                t0=start,
                t1=end,
                dt0=None,
                y0=y,
                args=jax.tree.map(lambda c: c[None], cond),
                stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol),
                max_steps=self.max_steps,
            )
            return solution.ys[0]

        y = jax.vmap(solve)(x / scale(span.t, x), angle(span.t), angle(s), dict(cond))
        x_s = scale(s, x) * y
        final = self.process.perturb(denoiser(x_s, s, cond), span.s)
        return jnp.where(expand(last, x), final, x_s), history
