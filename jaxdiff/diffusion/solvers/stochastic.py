"""Solvers of the reverse SDE, and solvers that go back up to more noise."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers.coordinates import (
    ProcessSolver,
    add_noise,
    at_an_end,
    between,
    half_logsnr,
    no_history,
    sde_noise,
    sde_step,
)
from jaxdiff.diffusion.solvers.single_step import Heun
from jaxdiff.options import NonNegativeFloat, Range
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Span


@pytree()
@dataclass(frozen=True)
class EDMStochastic:
    """Heun's method with noise added before each step (Karras et al. 2022, algorithm 2).

    Between the noise levels `s_min` and `s_max` of sigma/alpha, the noise level is raised by the
    factor 1 + min(s_churn/steps, √2 - 1), with noise of standard deviation `s_noise`.
    """

    process: Process
    s_churn: NonNegativeFloat = 40.0
    s_min: NonNegativeFloat = 0.05
    s_max: Annotated[float, Range(ge=0, finite=False)] = 50.0
    s_noise: NonNegativeFloat = 1.003
    init = no_history

    @property
    def stochastic(self) -> bool:
        """Whether noise is added."""
        return self.s_churn > 0

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Raises x_t to a noisier time, then takes Heun's step from there."""
        sigma_hat = jnp.exp(-half_logsnr(self.process, span.t))
        gamma = jnp.minimum(self.s_churn / span.steps, 2**0.5 - 1)
        churned = (self.s_min <= sigma_hat) & (sigma_hat <= self.s_max) & (gamma > 0)
        raised = self.process.time(-2 * jnp.log(sigma_hat * (1 + gamma)))
        # A schedule ends at t = 1: no noise is added beyond it.
        raised = jnp.where(churned, jnp.maximum(raised, span.t), span.t)
        # Where the level stays no noise is added: it would be the root of a rounding error.
        noisier = add_noise(self.process, x, span.t, raised, span.noise(x), self.s_noise)
        x = jnp.where(expand(raised > span.t, x), noisier, x)
        return Heun(self.process).step(denoiser, x, span._replace(t=raised), cond, history)


@pytree()
@dataclass(frozen=True)
class EulerMaruyama:
    """The Euler-Maruyama method for the reverse SDE, in t (Song, Y. et al. 2021, eq. 6).

    dx = (f·x - g²·score) dt + g dw, with f = alpha'/alpha and g² = 2·sigma·(sigma' - f·sigma).
    Where alpha_t = 0 it takes an ancestral step, and to sigma = 0 one without noise.
    """

    process: Process
    stochastic = True
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Adds the drift and the noise at t, over the whole step."""
        slope = lambda f: expand(jax.jvp(f, (span.t,), (jnp.ones_like(span.t),))[1], x)
        alpha, sigma = self.process.at(span.t, x)
        end = alpha == 0
        f = slope(self.process.schedule.alpha) / jnp.where(end, 1, alpha)
        half_g_squared = sigma * (slope(self.process.schedule.sigma) - f * sigma)
        prediction = denoiser(x, span.t, cond)
        dt = expand(span.t - span.s, x)
        z = span.noise(x)
        drift = -f * x - 2 * half_g_squared * prediction.noise / sigma
        alpha_s, sigma_s = self.process.at(span.s, x)
        spread = jnp.where(sigma_s > 0, jnp.sqrt(2 * half_g_squared * dt), 0)
        x_s = x + drift * dt + spread * z
        return jnp.where(end, alpha_s * prediction.x0 + sigma_s * z, x_s), history


@pytree()
@dataclass(frozen=True)
class DPMppSDE:
    """DPM-Solver++(SDE): a midpoint in λ with data prediction and noise (k-diffusion).

    `tau` is the share of noise that is renewed. Both halves of a step share one Brownian path.
    """

    process: Process
    tau: NonNegativeFloat = 1.0
    init = no_history

    @property
    def stochastic(self) -> bool:
        """Whether noise is renewed."""
        return self.tau > 0

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Takes half a step, then the whole step with the x0 halfway."""
        end = at_an_end(self.process, span.t, span.s)
        middle = between(self.process, span.t, span.s, 0.5)
        first = denoiser(x, span.t, cond)
        z1, z2 = span.noise(x, "first"), span.noise(x, "second")
        move = lambda x, t, s, x0: sde_step(self.process, x, t, s, x0, self.tau)
        to_middle = sde_noise(self.process, span.t, middle, z1, self.tau)
        halfway = move(x, span.t, middle, first.x0) + to_middle
        x0 = denoiser(halfway, middle, cond).x0
        x0 = jnp.where(expand(end, x), first.x0, x0)
        added = move(to_middle, middle, span.s, jnp.zeros_like(x))
        added += sde_noise(self.process, middle, span.s, z2, self.tau)
        return move(x, span.t, span.s, x0) + added, history


@pytree()
@dataclass(frozen=True)
class Restart:
    """A solver that adds noise where the grid goes back up (Xu et al. 2023).

    Such grids come from `timesteps.Restarting`: `Restart(of=Heun())`.
    """

    of: ProcessSolver
    stochastic = True

    def init(self, x: Data) -> Any:
        """Returns the history of the solver inside."""
        return self.of.init(x)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Takes the solver's step down, or adds noise on the way up."""
        solve = lambda: self.of.step(denoiser, x, span, cond, history)
        rise = lambda: (add_noise(self.of.process, x, span.t, span.s, span.noise(x)), history)
        return jax.lax.cond((span.s > span.t).all(), rise, solve)
