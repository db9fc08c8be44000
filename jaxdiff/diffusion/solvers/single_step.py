"""Deterministic solvers of one step, without a history."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers.coordinates import (
    angle_slope,
    at_an_end,
    between,
    data_step,
    euler_at_the_ends,
    half_logsnr,
    no_history,
    noise_step,
    predict_inside,
)
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Span


@pytree()
@dataclass(frozen=True)
class Euler:
    """Euler's method in ŝ, order 1: the same step as DDIM with eta = 0."""

    process: Process
    stochastic = False
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """x̂ + (ŝ_s - ŝ_t)·noise, which is alpha_s·x0 + sigma_s·noise."""
        return self.process.perturb(denoiser(x, span.t, cond), span.s), history


@pytree()
@dataclass(frozen=True)
class Heun:
    """Heun's method in ŝ, order 2 (Karras et al. 2022, algorithm 1).

    Two evaluations a step; the first step from alpha = 0 and the last to sigma = 0 are Euler's.
    """

    process: Process
    stochastic = False
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Euler's step, then the mean of the slopes at its two ends."""
        first = denoiser(x, span.t, cond)
        euler = self.process.perturb(first, span.s)
        end = at_an_end(self.process, span.t, span.s)
        slope = predict_inside(denoiser, euler, span.s, cond, span.t, end).noise
        x_s = noise_step(self.process, x, span.t, span.s, first, (first.noise + slope) / 2)
        return euler_at_the_ends(self.process, span, first, x_s), history


@pytree()
@dataclass(frozen=True)
class Midpoint:
    """The midpoint method in ŝ, order 2: two evaluations a step."""

    process: Process
    stochastic = False
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Euler's step with the slope halfway."""
        first = denoiser(x, span.t, cond)
        end = at_an_end(self.process, span.t, span.s)
        s_hat = lambda t: jnp.exp(-half_logsnr(self.process, t))
        middle = self.process.time(-2 * jnp.log((s_hat(span.t) + s_hat(span.s)) / 2))
        middle = jnp.where(end, span.t, middle)
        slope = denoiser(self.process.perturb(first, middle), middle, cond).noise
        x_s = noise_step(self.process, x, span.t, span.s, first, slope)
        return euler_at_the_ends(self.process, span, first, x_s), history


@pytree()
@dataclass(frozen=True)
class RK4:
    """The classical Runge-Kutta method, order 4: four evaluations a step.

    It runs in the noise angle φ = arctan(sigma/alpha), in which y = x/√(alpha² + sigma²) obeys
    dy/dφ = cos(φ)·noise - sin(φ)·x0: finite at both ends. The last step, to sigma = 0, is Euler's.
    """

    process: Process
    stochastic = False
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Takes a step along the mean of four slopes, of weights 1, 2, 2, 1."""
        scale = lambda t: jnp.hypot(*self.process.at(t, x))
        angle = self.process.angle
        last = self.process.schedule.sigma(span.s) == 0
        s = jnp.where(last, span.t, span.s)
        middle = self.process.time_of_angle((angle(span.t) + angle(s)) / 2)
        h = expand(angle(s) - angle(span.t), x)

        slope = lambda y, t: angle_slope(self.process, denoiser, y, t, cond)

        y = x / scale(span.t)
        k1, first = slope(y, span.t)
        k2, _ = slope(y + h / 2 * k1, middle)
        k3, _ = slope(y + h / 2 * k2, middle)
        k4, _ = slope(y + h * k3, s)
        x_s = scale(s) * (y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
        return jnp.where(expand(last, x), self.process.perturb(first, span.s), x_s), history


DPMSolver1 = DPMpp1 = Euler
"""Of order 1, DPM-Solver (Lu et al. 2022a) and DPM-Solver++ (2022b) are DDIM."""


@pytree()
@dataclass(frozen=True)
class DPMSolver2:
    """DPM-Solver-2: midpoint in λ with noise prediction, order 2 (Lu et al. 2022a, algorithm 1).

    The same as DPM2 of Karras et al. (2022), whose midpoint is the geometric mean of ŝ.
    """

    process: Process
    stochastic = False
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Euler's step with the noise halfway in λ."""
        first = denoiser(x, span.t, cond)
        middle = between(self.process, span.t, span.s, 0.5)
        noise = denoiser(self.process.perturb(first, middle), middle, cond).noise
        x_s = noise_step(self.process, x, span.t, span.s, first, noise)
        return euler_at_the_ends(self.process, span, first, x_s), history


DPM2 = DPMSolver2


@pytree()
@dataclass(frozen=True)
class DPMSolver3:
    """DPM-Solver-3: two points in between, order 3 (Lu et al. 2022a, algorithm 2)."""

    process: Process
    stochastic = False
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Integrates e^-λ times the noise, linear in λ, exactly."""
        first = denoiser(x, span.t, cond)
        end = at_an_end(self.process, span.t, span.s)
        t1, t2 = (between(self.process, span.t, span.s, share) for share in (1 / 3, 2 / 3))
        h = half_logsnr(self.process, span.s) - half_logsnr(self.process, span.t)
        h = expand(jnp.where(end, 1, h), x)
        # (e^h - 1)/h - 1 over e^h - 1: how much of a slope in λ the integral sees.
        seen = lambda h: 1 / h - 1 / jnp.expm1(h)
        step = lambda s, noise: noise_step(self.process, x, span.t, s, first, noise)

        change = denoiser(self.process.perturb(first, t1), t1, cond).noise - first.noise
        noise = first.noise + 2 * seen(2 / 3 * h) * change
        change = denoiser(step(t2, noise), t2, cond).noise - first.noise
        x_s = step(span.s, first.noise + 1.5 * seen(h) * change)
        return euler_at_the_ends(self.process, span, first, x_s), history


@pytree()
@dataclass(frozen=True)
class DPMpp2S:
    """DPM-Solver++(2S): midpoint in λ with data prediction, order 2 (Lu et al. 2022b, alg. 1)."""

    process: Process
    stochastic = False
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Takes a step in data coordinates with the x0 halfway in λ."""
        first = denoiser(x, span.t, cond)
        middle = between(self.process, span.t, span.s, 0.5)
        x0 = denoiser(self.process.perturb(first, middle), middle, cond).x0
        end = expand(at_an_end(self.process, span.t, span.s), x)
        x0 = jnp.where(end, first.x0, x0)
        return data_step(self.process, x, span.t, span.s, x0), history
