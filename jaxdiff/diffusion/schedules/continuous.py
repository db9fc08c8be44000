"""Schedules in continuous time."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.options import NonNegativeFloat, PositiveFloat
from jaxdiff.trees import pytree


@runtime_checkable
class Schedule(Protocol):
    """The two coefficients of a Gaussian process."""

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns the coefficient of the data."""

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns the coefficient of the noise."""


def _log_alpha(t, beta_min, beta_max):
    """Returns -½ ∫ beta from 0 to t, for beta linear in t."""
    return -0.25 * t**2 * (beta_max - beta_min) - 0.5 * t * beta_min


@pytree()
@dataclass(frozen=True)
class LinearBeta:
    """The variance-preserving SDE with beta(t) linear in t (Song, Y. et al. 2021, eq. 32-33)."""

    beta_min: NonNegativeFloat = 0.1
    beta_max: PositiveFloat = 20.0

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """exp(-½ ∫ beta)."""
        return jnp.exp(_log_alpha(t, self.beta_min, self.beta_max))

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√(1 - alpha²), without cancellation near t = 0."""
        return jnp.sqrt(-jnp.expm1(2 * _log_alpha(t, self.beta_min, self.beta_max)))


@pytree()
@dataclass(frozen=True)
class SubVP:
    """The sub-VP SDE: `LinearBeta`'s alpha with less noise (Song, Y. et al. 2021)."""

    beta_min: NonNegativeFloat = 0.1
    beta_max: PositiveFloat = 20.0

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """exp(-½ ∫ beta)."""
        return jnp.exp(_log_alpha(t, self.beta_min, self.beta_max))

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """1 - alpha², the variance of the VP SDE as a standard deviation."""
        return -jnp.expm1(2 * _log_alpha(t, self.beta_min, self.beta_max))


@pytree()
@dataclass(frozen=True)
class Cosine:
    """The cosine schedule in continuous time (Nichol & Dhariwal 2021; Salimans & Ho 2022).

    Also the trigonometric interpolant, GVP (Albergo & Vanden-Eijnden 2023; Ma et al. 2024), and
    TrigFlow (Lu & Song 2024), whose time is πt/2.
    """

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """cos(πt/2), written as a sine so that it is exactly zero at t = 1."""
        return jnp.sin(0.5 * jnp.pi * (1 - t))

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """sin(πt/2)."""
        return jnp.sin(0.5 * jnp.pi * t)


# All three names are in use.
GVP = TrigFlow = Cosine


@pytree()
@dataclass(frozen=True)
class Sigmoid:
    """alpha² falls from 1 to 0 along a logistic curve (Jabri et al. 2022; Chen 2023).

    alpha² = (sigmoid(end/tau) - sigmoid(at/tau)) / (sigmoid(end/tau) - sigmoid(start/tau)), where
    `at` goes from `start` to `end`. Differences of sigmoids are written as
    sinh((a - b)/2) / (2·cosh(a/2)·cosh(b/2)), which does not cancel at either end.
    """

    start: float = -3.0
    end: float = 3.0
    tau: PositiveFloat = 1.0

    def __post_init__(self):
        if not self.start < self.end:
            raise ValueError(f"Sigmoid: start={self.start} is not below end={self.end}")

    def _share(self, covered, fixed, t):
        """Returns the share of the fall in the part `covered` of the way, to the `fixed` end."""
        at = self.start + t * (self.end - self.start)
        half = lambda x: x / (2 * self.tau)
        width = half(self.end - self.start)
        fall = jnp.sinh(width * covered) / np.sinh(width)
        return fall * np.cosh(half(fixed)) / jnp.cosh(half(at))

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """The root of the share of the fall that is left."""
        return jnp.sqrt(self._share(1 - t, self.start, t))

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """The root of the share that has fallen."""
        return jnp.sqrt(self._share(t, self.end, t))


@pytree()
@dataclass(frozen=True)
class Laplace:
    """Variance-preserving; log-SNR at uniform t is Laplace-distributed (Hang et al. 2024).

    logSNR = mean - scale·sign(½ - t)·log(1 - 2|t - ½|): the inverse of the distribution function.
    """

    mean: float = 0.0
    scale: PositiveFloat = 0.5

    def _logsnr(self, t):
        # The two halves apart: |t - ½| would cancel near the ends and have no slope at ½.
        return self.mean + self.scale * jnp.where(t < 0.5, -jnp.log(2 * t), jnp.log(2 * (1 - t)))

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√sigmoid(logSNR)."""
        return jnp.sqrt(jax.nn.sigmoid(self._logsnr(t)))

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√sigmoid(-logSNR)."""
        return jnp.sqrt(jax.nn.sigmoid(-self._logsnr(t)))


@pytree()
@dataclass(frozen=True)
class RectifiedFlow:
    """The straight line from data to noise (Liu et al. 2023; Lipman et al. 2023)."""

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """1 - t."""
        return 1 - t

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """The time itself."""
        return t


@pytree()
@dataclass(frozen=True)
class VarianceExploding:
    """The variance-exploding SDE, geometric in t (Song, Y. et al. 2021, eq. 29-30)."""

    sigma_min: PositiveFloat = 0.01
    sigma_max: PositiveFloat = 50.0

    def __post_init__(self):
        if not self.sigma_min < self.sigma_max:
            raise ValueError(
                f"VarianceExploding: sigma_min={self.sigma_min} is not below"
                f" sigma_max={self.sigma_max}"
            )

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """One: the data are not scaled."""
        return jnp.ones_like(t)

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """sigma_min·√(ratio^2t - 1): the variance gained since t = 0, where it is zero."""
        ratio = self.sigma_max / self.sigma_min
        return self.sigma_min * jnp.sqrt(jnp.expm1(2 * t * np.log(ratio)))


@pytree()
@dataclass(frozen=True)
class EDM:
    """sigma proportional to t, up to `sigma_max` (Karras et al. 2022, table 1)."""

    sigma_max: PositiveFloat = 80.0

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """One: the data are not scaled."""
        return jnp.ones_like(t)

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """sigma_max·t."""
        return self.sigma_max * t
