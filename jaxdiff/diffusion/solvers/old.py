"""Solvers of the reverse process, each a few lines; `sampling.sample` holds the loop.

With x̂ = x/alpha and ŝ = sigma/alpha, the probability flow of every Gaussian process is
dx̂/dŝ = noise. The steps are written so that they hold at alpha = 0 and at sigma = 0 as well.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.typing import Cond, Denoiser, Span

Data = Float[Array, "b *shape"]


def _none(self, x: Data) -> tuple:
    """Has no history."""
    return ()


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling (Ho et al. 2020, algorithm 2).

    `variance` is that of the posterior given x0 ("small") or of the forward step ("large").
    """

    process: Process
    variance: Literal["small", "large"] = "small"
    init = _none

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Samples from q(x_s | x_t, x0) with the predicted x0."""
        alpha_t, sigma_t = self.process.at(span.t, x)
        alpha_s, sigma_s = self.process.at(span.s, x)
        ratio = alpha_t * sigma_s / (alpha_s * sigma_t)
        spread = {"small": sigma_s, "large": jnp.where(sigma_s > 0, sigma_t, 0)}[self.variance]
        x0, noise, _ = denoiser(x, span.t, cond)
        mean = alpha_s * x0 + sigma_s * ratio * noise
        return mean + spread * jnp.sqrt(1 - ratio**2) * random.normal(span.keys, x), history


@dataclass(frozen=True)
class DDIM:
    """Non-Markovian sampling, deterministic for eta = 0 (Song, J. et al. 2021, eq. 12, 16).

    `eta` in [0, 1]; at 1 it is `DDPM`.
    """

    process: Process
    eta: float = 0.0
    init = _none

    def __post_init__(self):
        if not 0 <= self.eta <= 1:
            raise ValueError(f"DDIM: eta={self.eta} is not in [0, 1]")

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Keeps part of the predicted noise and draws the rest afresh."""
        prediction = denoiser(x, span.t, cond)
        if self.eta == 0:
            return self.process.perturb(prediction, span.s), history
        alpha_t, sigma_t = self.process.at(span.t, x)
        alpha_s, sigma_s = self.process.at(span.s, x)
        ratio = alpha_t * sigma_s / (alpha_s * sigma_t)
        fresh = self.eta * jnp.sqrt(1 - ratio**2)
        noise = jnp.sqrt(1 - fresh**2) * prediction.noise + fresh * random.normal(span.keys, x)
        return alpha_s * prediction.x0 + sigma_s * noise, history


@dataclass(frozen=True)
class Euler:
    """Euler's method in ŝ, order 1: the same step as DDIM with eta = 0."""

    process: Process
    init = _none

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """x̂ + (ŝ_s - ŝ_t)·noise, which is alpha_s·x0 + sigma_s·noise."""
        return self.process.perturb(denoiser(x, span.t, cond), span.s), history


@dataclass(frozen=True)
class Heun:
    """Heun's method in ŝ, order 2 (Karras et al. 2022, algorithm 1).

    Two evaluations a step; the first step from alpha = 0 and the last to sigma = 0 are Euler's.
    """

    process: Process
    init = _none

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Euler's step, then the mean of the slopes at its two ends."""
        alpha_t, sigma_t = self.process.at(span.t, x)
        alpha_s, sigma_s = self.process.at(span.s, x)
        prediction = denoiser(x, span.t, cond)
        euler = self.process.perturb(prediction, span.s)
        first_order = (alpha_t == 0) | (sigma_s == 0)
        # A time at which every network is defined stands in where the result is not used.
        s = jnp.where(first_order.reshape(span.s.shape), span.t, span.s)
        slope_change = denoiser(euler, s, cond).noise - prediction.noise
        half_interval = 0.5 * (sigma_s - alpha_s * sigma_t / jnp.where(alpha_t == 0, 1, alpha_t))
        return jnp.where(first_order, euler, euler + half_interval * slope_change), history


@dataclass(frozen=True)
class DPMpp2M:
    """DPM-Solver++(2M): multistep in x0 and λ = log(alpha/sigma), order 2 (Lu et al. 2022, alg. 2).

    One evaluation a step; the first step and a last one to sigma = 0 are of order 1.
    """

    process: Process

    def init(self, x: Data) -> tuple[Data, Float[Array, " b"]]:
        """The step before the first began at λ = -∞, which gives its x0 no weight."""
        return jnp.zeros_like(x), jnp.full(len(x), -jnp.inf, x.dtype)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Integrates the linear extrapolation of x0 exactly."""
        x0_before, lambda_before = history
        lambda_t, lambda_s = (self.process.logsnr(t) / 2 for t in (span.t, span.s))
        step, step_before = lambda_s - lambda_t, lambda_t - lambda_before
        weight = jnp.where(jnp.isinf(step) | jnp.isinf(step_before), 0, step / (2 * step_before))
        x0 = denoiser(x, span.t, cond).x0
        extrapolated = x0 + expand(weight, x) * (x0 - x0_before)
        alpha_t, sigma_t = self.process.at(span.t, x)
        alpha_s, sigma_s = self.process.at(span.s, x)
        shrink = sigma_s / sigma_t
        return shrink * x + (alpha_s - shrink * alpha_t) * extrapolated, (x0, lambda_t)


@dataclass(frozen=True)
class EDMStochastic:
    """Heun's method with noise added before each step (Karras et al. 2022, algorithm 2).

    Between the noise levels `s_min` and `s_max` of sigma/alpha, the noise level is raised by the
    factor 1 + min(s_churn/steps, √2 - 1), with noise of standard deviation `s_noise`.
    """

    process: Process
    s_churn: float = 40.0
    s_min: float = 0.05
    s_max: float = 50.0
    s_noise: float = 1.003
    init = _none

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Raises x_t to a noisier time, then takes Heun's step from there."""
        sigma_hat = jnp.exp(-self.process.logsnr(span.t) / 2)
        gamma = min(self.s_churn / span.steps, 2**0.5 - 1)
        churned = (self.s_min <= sigma_hat) & (sigma_hat <= self.s_max) & (gamma > 0)
        raised = self.process.time(-2 * jnp.log(sigma_hat * (1 + gamma)))
        # A schedule ends at t = 1: what it cannot be raised by is not added either.
        raised = jnp.where(churned, jnp.maximum(raised, span.t), span.t)
        alpha_t, sigma_t = self.process.at(span.t, x)
        alpha, sigma = self.process.at(raised, x)
        scale = jnp.where(alpha_t > 0, alpha / jnp.where(alpha_t > 0, alpha_t, 1), 1)
        added = jnp.sqrt(jnp.maximum(sigma**2 - (scale * sigma_t) ** 2, 0))
        x = scale * x + added * self.s_noise * random.normal(span.keys, x)
        return Heun(self.process).step(denoiser, x, span._replace(t=raised), cond, history)
