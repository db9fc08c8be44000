"""Schedules made from other schedules."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion.schedules.continuous import (
    EDM,
    Cosine,
    LinearBeta,
    RectifiedFlow,
    Schedule,
    VarianceExploding,
)
from jaxdiff.diffusion.schedules.tables import Tabulated
from jaxdiff.options import PositiveFloat
from jaxdiff.trees import pytree


def _check_schedule(name, of):
    if not isinstance(of, Schedule):
        raise ValueError(f"{name}: of={of!r} is not a schedule; write '{name}(of=Cosine())'")


def _norm(alpha, sigma):
    return jnp.sqrt(alpha**2 + sigma**2)


@pytree()
@dataclass(frozen=True)
class LogSNRShift:
    """Shift of a schedule's log-SNR by -2·log(shift): its sigma/alpha times `shift`.

    With shift = image side / side that the schedule was made for, the resolution shift of
    Hoogeboom et al. (2023); on `RectifiedFlow`, the time t' = shift·t/(1 + (shift - 1)·t) of Esser
    et al. (2024). An invariant of the base is kept: alpha + sigma of a rectified flow, alpha of
    a variance-exploding process, alpha² + sigma² of any other.
    """

    of: Schedule = Cosine()  # noqa: RUF009 - it is frozen
    shift: PositiveFloat = 1.0

    def __post_init__(self):
        _check_schedule("LogSNRShift", self.of)

    def _scaled(self, t):
        """Returns alpha and shift·sigma, scaled back to the base's own curve."""
        size = _size(self.of)
        alpha, sigma = self.of.alpha(t), self.of.sigma(t)
        scale = size(alpha, sigma) / size(alpha, self.shift * sigma)
        return scale * alpha, scale * self.shift * sigma

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Alpha of the base, scaled back to its curve."""
        return self._scaled(t)[0]

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """`shift` times sigma of the base, scaled back to its curve."""
        return self._scaled(t)[1]


def _size(schedule):
    """Returns the function of alpha and sigma that a shift must not change."""
    match schedule:
        case LogSNRShift():
            return _size(schedule.of)
        case RectifiedFlow():
            return lambda alpha, sigma: alpha + sigma
        case VarianceExploding() | EDM():
            return lambda alpha, sigma: alpha
    return _norm


@pytree()
@dataclass(frozen=True)
class ZeroTerminalSNR:
    """Zero terminal SNR: a schedule's alpha stretched to end at 0 (Lin et al. 2024, algorithm 1).

    alpha' = alpha_1·(alpha - alpha_N)/(alpha_1 - alpha_N). Step 1, which is kept, is the first of a
    `Tabulated` base and t = 0 of any other. The algorithm is for variance-preserving processes; of
    others, alpha and sigma are divided by √(alpha² + sigma²), and multiplied by it afterwards.
    """

    of: Schedule = LinearBeta()  # noqa: RUF009 - it is frozen

    def __post_init__(self):
        _check_schedule("ZeroTerminalSNR", self.of)

    def _unit(self, t):
        alpha, sigma = self.of.alpha(t), self.of.sigma(t)
        norm = _norm(alpha, sigma)
        return norm, alpha / norm, sigma / norm

    def _rescaled(self, t):
        """Returns the new alpha and sigma; sigma follows from the loss in alpha.

        sigma'² = sigma² + (alpha - alpha')·(alpha + alpha'), in which alpha - alpha' is
        alpha_N·(alpha_1 - alpha)/(alpha_1 - alpha_N), and alpha_1 - alpha is
        (sigma² - sigma_1²)/(alpha_1 + alpha): nothing cancels near t = 0.
        """
        start = 1 / len(self.of.betas) if isinstance(self.of, Tabulated) else 0.0
        norm, alpha, sigma = self._unit(t)
        _, alpha_1, sigma_1 = self._unit(jnp.full_like(t, start))
        _, alpha_n, _ = self._unit(jnp.ones_like(t))
        excess = alpha - alpha_n
        # Rounding may leave it below zero, or at t = 1 not quite zero; its slope is right.
        excess -= jax.lax.stop_gradient(jnp.where(t < 1, jnp.minimum(excess, 0), excess))
        stretched = alpha_1 * (excess / (alpha_1 - alpha_n))
        new = jnp.where(t < start, alpha, stretched)
        lost = alpha_n * (alpha + new) / ((alpha_1 - alpha_n) * (alpha_1 + alpha))
        if start:
            lost *= 1 - (sigma_1 / jnp.maximum(sigma, sigma_1)) ** 2
        return norm * new, norm * sigma * jnp.sqrt(1 + lost)

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Exactly zero at t = 1."""
        return self._rescaled(t)[0]

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√(1 - alpha²) where the base preserves the variance, without cancellation near t = 0."""
        return self._rescaled(t)[1]
