"""Noise schedules: `alpha(t)` and `sigma(t)` of `x_t = alpha·x0 + sigma·noise`, for t in [0, 1].

t = 0 is data (`sigma = 0`) and t = 1 is noise. Log-SNR and derivatives follow by autodiff, in
`process.py`. Each function takes and returns arrays of any shape.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@runtime_checkable
class Schedule(Protocol):
    """The two coefficients of a Gaussian process."""

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns the coefficient of the data."""

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns the coefficient of the noise."""


@dataclass(frozen=True)
class LinearBeta:
    """The variance-preserving SDE with beta(t) linear in t (Song, Y. et al. 2021, eq. 32-33)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _log_alpha(self, t):
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """exp(-½ ∫ beta)."""
        return jnp.exp(self._log_alpha(t))

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√(1 - alpha²), without cancellation near t = 0."""
        return jnp.sqrt(-jnp.expm1(2 * self._log_alpha(t)))


@dataclass(frozen=True)
class Cosine:
    """The cosine schedule in continuous time (Nichol & Dhariwal 2021; Salimans & Ho 2022)."""

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """cos(πt/2), written as a sine so that it is exactly zero at t = 1."""
        return jnp.sin(0.5 * jnp.pi * (1 - t))

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """sin(πt/2)."""
        return jnp.sin(0.5 * jnp.pi * t)


@dataclass(frozen=True)
class RectifiedFlow:
    """The straight line from data to noise (Liu et al. 2023; Lipman et al. 2023)."""

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """1 - t."""
        return 1 - t

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """The time itself."""
        return t


@dataclass(frozen=True)
class VarianceExploding:
    """The variance-exploding SDE, geometric in t (Song, Y. et al. 2021, eq. 29-30)."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """One: the data are not scaled."""
        return jnp.ones_like(t)

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """sigma_min·√(ratio^2t - 1): the variance gained since t = 0, where it is zero."""
        ratio = self.sigma_max / self.sigma_min
        return self.sigma_min * jnp.sqrt(jnp.expm1(2 * t * np.log(ratio)))


@dataclass(frozen=True)
class EDM:
    """sigma proportional to t, up to `sigma_max` (Karras et al. 2022, table 1)."""

    sigma_max: float = 80.0

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """One: the data are not scaled."""
        return jnp.ones_like(t)

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """sigma_max·t."""
        return self.sigma_max * t


def linear_betas(steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> tuple[float, ...]:
    """Returns betas evenly spaced from `start` to `end` (Ho et al. 2020, section 4)."""
    return tuple(np.linspace(start, end, steps).tolist())


def cosine_betas(
    steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999
) -> tuple[float, ...]:
    """Returns the betas of the discrete cosine schedule (Nichol & Dhariwal 2021, eq. 17)."""
    edges = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2) ** 2
    return tuple(np.minimum(1 - edges[1:] / edges[:-1], max_beta).tolist())


@dataclass(frozen=True)
class Tabulated:
    """A discrete-time schedule: beta_1 ... beta_N, step i of N standing at t = i/N.

    alpha² is linear in t between the steps, and one at t = 0.
    """

    betas: tuple[float, ...] = linear_betas()

    def _interpolate(self, t, variance):
        log_alpha_squared = np.concatenate([[0.0], np.cumsum(np.log1p(-np.array(self.betas)))])
        table = variance(log_alpha_squared)
        return jnp.sqrt(jnp.interp(t * len(self.betas), np.arange(len(table)), table))

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√∏(1 - beta_i) up to step t·N."""
        return self._interpolate(t, np.exp).astype(t.dtype)

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√(1 - alpha²), without cancellation near t = 0."""
        return self._interpolate(t, lambda log: -np.expm1(log)).astype(t.dtype)
