"""Parts of solvers: steps that hold at both ends of every process."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion.process import Process, expand
from jaxdiff.typing import Cond, Data, Denoiser, Prediction, Solver, Span

Time = Float[Array, "*times"]


@runtime_checkable
class ProcessSolver(Solver, Protocol):
    """A solver with its process, from which another solver is made."""

    @property
    def process(self) -> Process:
        """Returns the process."""


def no_history(self: Any, x: Data) -> tuple:
    """The `init` of a solver without a history."""
    return ()


def half_logsnr(process: Process, t: Time) -> Time:
    """λ = log(alpha/sigma), infinite at the ends."""
    return process.logsnr(t) / 2


def between(process: Process, t: Time, s: Time, share: float) -> Time:
    """Returns the time at λ_t + share·(λ_s - λ_t); `t` itself where that is not finite."""
    lambda_t, lambda_s = half_logsnr(process, t), half_logsnr(process, s)
    middle = process.time(2 * (lambda_t + share * (lambda_s - lambda_t)))
    return jnp.where(at_an_end(process, t, s), t, middle)


def at_an_end(process: Process, t: Time, s: Time) -> Array:
    """Returns whether λ is infinite at t or at s: alpha = 0 or sigma = 0."""
    finite = jnp.isfinite(half_logsnr(process, t)) & jnp.isfinite(half_logsnr(process, s))
    return ~finite


def noise_step(process: Process, x: Data, t: Time, s: Time, first: Prediction, noise: Data) -> Data:
    """x̂_s = x̂_t + (ŝ_s - ŝ_t)·noise; DDIM's step with the prediction `first` where alpha_t = 0.

    `first` is the prediction at (x, t), so that x need not be divided by alpha_t.
    """
    alpha_t, sigma_t = process.at(t, x)
    alpha_s, sigma_s = process.at(s, x)
    ratio = alpha_s / jnp.where(alpha_t == 0, 1, alpha_t)
    change = (sigma_s - ratio * sigma_t) * (noise - first.noise)
    return process.perturb(first, s) + jnp.where(alpha_t == 0, 0, change)


def data_step(process: Process, x: Data, t: Time, s: Time, x0: Data) -> Data:
    """x_s/sigma_s = x_t/sigma_t + (alpha_s/sigma_s - alpha_t/sigma_t)·x0, for sigma_t > 0."""
    alpha_t, sigma_t = process.at(t, x)
    alpha_s, sigma_s = process.at(s, x)
    shrink = sigma_s / sigma_t
    return shrink * x + (alpha_s - shrink * alpha_t) * x0


def euler_at_the_ends(process: Process, span: Span, first: Prediction, x_s: Data) -> Data:
    """Returns x_s, but Euler's step with `first` from alpha = 0 or to sigma = 0."""
    end = at_an_end(process, span.t, span.s)
    return jnp.where(expand(end, x_s), process.perturb(first, span.s), x_s)


def sde_step(process: Process, x: Data, t: Time, s: Time, x0: Data, tau: float) -> Data:
    """Takes a step of the SDE without the noise that it adds; `tau` is the share of renewed noise.

    With h = λ_s - λ_t, x_s = e^(-tau²·h)·sigma_s/sigma_t·x_t + alpha_s·(1 - e^(-(1 + tau²)·h))·x0
    (Xue et al. 2023, SA-Solver).
    """
    _, sigma_t = process.at(t, x)
    alpha_s, sigma_s = process.at(s, x)
    h = expand(_interval(process, t, s), x)
    kept = jnp.exp(-(tau**2) * h) if tau else 1.0
    return kept * sigma_s / sigma_t * x - alpha_s * jnp.expm1(-(1 + tau**2) * h) * x0


def sde_noise(process: Process, t: Time, s: Time, noise: Data, tau: float) -> Data:
    """Returns the noise that a step of the SDE adds, sigma_s·√(1 - e^(-2·tau²·h))·noise."""
    if not tau:
        return jnp.zeros_like(noise)
    _, sigma_s = process.at(s, noise)
    h = expand(_interval(process, t, s), noise)
    return sigma_s * jnp.sqrt(-jnp.expm1(-2 * tau**2 * h)) * noise


def _interval(process: Process, t: Time, s: Time) -> Time:
    """Returns λ_s - λ_t, and 0 for a step of no length at an end, where λ is infinite."""
    return jnp.where(t == s, 0, half_logsnr(process, s) - half_logsnr(process, t))


def add_noise(process: Process, x: Data, t: Time, s: Time, noise: Data, scale: float = 1.0) -> Data:
    """Draws x_s from q(x_s | x_t) for a noisier time s; `scale` is the noise's deviation."""
    alpha_t, sigma_t = process.at(t, x)
    alpha_s, sigma_s = process.at(s, x)
    ratio = jnp.where(alpha_t > 0, alpha_s / jnp.where(alpha_t > 0, alpha_t, 1), 1)
    added = jnp.sqrt(jnp.maximum(sigma_s**2 - (ratio * sigma_t) ** 2, 0))
    return ratio * x + added * scale * noise


def angle_slope(
    process: Process, denoiser: Denoiser, y: Data, t: Time, cond: Cond
) -> tuple[Data, Prediction]:
    """Returns dy/dφ and the prediction, for y = x/√(alpha² + sigma²) and the noise angle φ.

    The slope of the probability flow is cos(φ)·noise - sin(φ)·x0, finite at both ends.
    """
    alpha, sigma = process.at(t, y)
    scale = jnp.hypot(alpha, sigma)
    prediction = denoiser(scale * y, t, cond)
    return (alpha * prediction.noise - sigma * prediction.x0) / scale, prediction


def predict_inside(
    denoiser: Denoiser, x: Data, t: Time, cond: Cond, instead: Time, where: Array
) -> Any:
    """Calls the denoiser at t, but at `instead` where the prediction is not used.

    At the ends some networks are not defined: another time stands in.
    """
    return denoiser(x, jnp.where(where, instead, t), cond)
