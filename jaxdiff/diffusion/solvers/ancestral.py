"""Solvers that replace part of the noise in each step: ancestral sampling and DDIM."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers.coordinates import ProcessSolver, half_logsnr, no_history
from jaxdiff.diffusion.solvers.single_step import DPMpp2S, DPMSolver2
from jaxdiff.options import Share
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Prediction, Span


@pytree()
@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling (Ho et al. 2020, algorithm 2).

    `variance` is that of the posterior given x0 ("small"), of the forward step ("large"), or the
    one that the model predicts, as the share of the way from small to large in the logarithm
    ("learned", Nichol & Dhariwal 2021, eq. 15; in `Prediction.variance`, from 0 to 1).

    Raises:
        ValueError: `variance` is none of these.
    """

    process: Process
    variance: Literal["small", "large", "learned"] = "small"
    stochastic = True
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Samples from q(x_s | x_t, x0) with the predicted x0."""
        alpha_t, sigma_t = self.process.at(span.t, x)
        alpha_s, sigma_s = self.process.at(span.s, x)
        ratio = alpha_t * sigma_s / (alpha_s * sigma_t)
        x0, noise, share = denoiser(x, span.t, cond)
        large = jnp.where(sigma_s > 0, sigma_t, 0)
        if self.variance == "learned":
            if share is None:
                raise ValueError("DDPM: variance='learned', but the model predicts none")
            # At the data sigma_s is 0, and a share below 0 would divide by it.
            there = sigma_s > 0
            spread = sigma_s * jnp.where(there, sigma_t / jnp.where(there, sigma_s, 1), 1) ** share
        else:
            spread = {"small": sigma_s, "large": large}[self.variance]
        mean = alpha_s * x0 + sigma_s * ratio * noise
        return mean + spread * jnp.sqrt(1 - ratio**2) * span.noise(x), history


@pytree()
@dataclass(frozen=True)
class DDIM:
    """Non-Markovian sampling, deterministic for eta = 0 (Song, J. et al. 2021, eq. 12, 16).

    `eta` in [0, 1]; at 1 it is `DDPM`.
    """

    process: Process
    eta: Share = 0.0
    init = no_history

    @property
    def stochastic(self) -> bool:
        """Whether noise is renewed."""
        return self.eta > 0

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Keeps part of the predicted noise, and draws new noise for the rest."""
        prediction = denoiser(x, span.t, cond)
        if self.eta == 0:
            return self.process.perturb(prediction, span.s), history
        mean, spread = self.transition(prediction, x, span)
        return mean + spread * span.noise(x), history

    def transition(self, prediction: Prediction, x: Data, span: Span) -> tuple[Data, Array]:
        """Returns mean and deviation of x_s given x_t; the second has axes of size 1."""
        alpha_t, sigma_t = self.process.at(span.t, x)
        alpha_s, sigma_s = self.process.at(span.s, x)
        ratio = alpha_t * sigma_s / (alpha_s * sigma_t)
        fresh = self.eta * jnp.sqrt(1 - ratio**2)
        kept = jnp.sqrt(1 - fresh**2) * prediction.noise
        return alpha_s * prediction.x0 + sigma_s * kept, sigma_s * fresh


@pytree()
@dataclass(frozen=True)
class Ancestral:
    """Ancestral steps: a solver's step down to ŝ_d, then noise up to ŝ_s (k-diffusion).

    Of the noise that ancestral sampling would renew, `eta` is renewed: ŝ_d² = ŝ_s²·(1 - eta²·
    (1 - ŝ_s²/ŝ_t²)).

    Raises:
        ValueError: eta is not in [0, 1], or the solver is one with a history.
    """

    solver: ProcessSolver
    eta: Share = 1.0
    init = no_history

    def __post_init__(self):
        if jax.tree.leaves(self.solver.init(jnp.zeros((1, 1)))):
            raise ValueError(f"Ancestral: solver={self.solver} must be one without a history")

    @property
    def stochastic(self) -> bool:
        """Whether noise is renewed."""
        return self.eta > 0 or getattr(self.solver, "stochastic", True)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Takes the solver's step to less noise than at s, then adds noise."""
        process = self.solver.process
        lambda_t, lambda_s = half_logsnr(process, span.t), half_logsnr(process, span.s)
        fresh = self.eta**2 * -jnp.expm1(2 * (lambda_t - lambda_s))
        down = process.time(2 * lambda_s - jnp.log1p(-fresh))
        down = jnp.where(jnp.isinf(lambda_s), span.s, down)
        x, _ = self.solver.step(denoiser, x, span._replace(s=down), cond, ())
        alpha_d, _ = process.at(down, x)
        alpha_s, sigma_s = process.at(span.s, x)
        added = sigma_s * jnp.sqrt(expand(fresh, x)) * span.noise(x)
        return alpha_s / alpha_d * x + added, history


def EulerAncestral(process: Process, eta: Share = 1.0) -> DDIM:
    """Euler's step down, then noise up, which is DDIM's step with this eta."""
    return DDIM(process, eta)


def DPM2Ancestral(process: Process, eta: Share = 1.0) -> Ancestral:
    """DPM2 down, then noise up (k-diffusion)."""
    return Ancestral(DPMSolver2(process), eta)


def DPMpp2SAncestral(process: Process, eta: Share = 1.0) -> Ancestral:
    """DPM-Solver++(2S) down, then noise up (k-diffusion)."""
    return Ancestral(DPMpp2S(process), eta)
