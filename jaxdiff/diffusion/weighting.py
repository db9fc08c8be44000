"""Weightings of a loss: functions of the noise level that multiply a squared error.

A weighting is defined by its weight w(t) of the error in x0, w·|x0 - x0'|². Given x_t, an error in
y = a·x0 + b·noise is determinant/sigma times the error in x0, so the same loss, read in another
parameterization, has the weight w·sigma²/determinant². Each weighting is thereby right in every
parameterization. The classes below compute w·sigma², in which no SNR is infinite: weights are
finite at both ends wherever the parameterization carries information, except for `ELBO` at
sigma = 0, where it is infinite, and `Flow` where the velocity is.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp

from jaxdiff.diffusion import parameterizations
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.options import NonNegativeFloat, PositiveFloat
from jaxdiff.trees import pytree
from jaxdiff.typing import Time


@runtime_checkable
class Weighting(Protocol):
    """A weighting of the loss by noise level."""

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""


KIND = Weighting
"""The kind of objects that the names of this module build."""


def _read_in(process, parameterization, t, weight):
    """Returns the weight in a parameterization, from `weight` = w·sigma²."""
    return weight / process.determinant(parameterization, t) ** 2


def _unit_in(other, process, parameterization, t):
    """Returns the weight that is one in the parameterization `other`."""
    return (process.determinant(other, t) / process.determinant(parameterization, t)) ** 2


@pytree()
@dataclass(frozen=True)
class Simple:
    """Weight one, in the parameterization of the loss (Ho et al. 2020, eq. 14)."""

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        return jnp.ones_like(t)


@pytree()
@dataclass(frozen=True)
class SNR:
    """SNR on the error in x0: unit weight on the error in the noise (Salimans & Ho 2022)."""

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        return _unit_in(parameterizations.noise, process, parameterization, t)


@pytree()
@dataclass(frozen=True)
class TruncatedSNR:
    """max(SNR, 1) on the error in x0 (Salimans & Ho 2022)."""

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        alpha, sigma = process.schedule.alpha(t), process.schedule.sigma(t)
        return _read_in(process, parameterization, t, jnp.maximum(alpha**2, sigma**2))


@pytree()
@dataclass(frozen=True)
class MinSNR:
    """min(SNR, gamma) on the error in x0 (Hang et al. 2023, section 3.4)."""

    gamma: PositiveFloat = 5.0

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        alpha, sigma = process.schedule.alpha(t), process.schedule.sigma(t)
        return _read_in(process, parameterization, t, jnp.minimum(alpha**2, self.gamma * sigma**2))


@pytree()
@dataclass(frozen=True)
class P2:
    """1/(k + SNR)^gamma on the error in the noise (Choi et al. 2022)."""

    k: PositiveFloat = 1.0
    gamma: NonNegativeFloat = 1.0

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        alpha, sigma = process.schedule.alpha(t), process.schedule.sigma(t)
        share = sigma**2 / (self.k * sigma**2 + alpha**2)
        return _read_in(process, parameterization, t, alpha**2 * share**self.gamma)


@pytree()
@dataclass(frozen=True)
class EDM:
    """1/c_out² on the error in x0: unit weight on the error in F (Karras et al. 2022, table 1)."""

    data_std: PositiveFloat = 0.5

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        return _unit_in(parameterizations.edm(self.data_std), process, parameterization, t)


@pytree()
@dataclass(frozen=True)
class Flow:
    """Unit weight on the error in the velocity (Lipman et al. 2023)."""

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        return _unit_in(parameterizations.velocity, process, parameterization, t)


@pytree()
@dataclass(frozen=True)
class ELBO:
    """-½·dSNR/dt on the error in x0, for uniform t: the bound of Kingma et al. (2021, eq. 16).

    It is the likelihood weighting g² of score-based models as well (Song, Y. et al. 2021).
    """

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        alpha, sigma, falling = _inside(process, t)
        return _read_in(process, parameterization, t, alpha * falling / sigma)


@pytree()
@dataclass(frozen=True)
class Sigmoid:
    """sigmoid(bias - logSNR) times `ELBO` (Kingma & Gao 2023; Hoogeboom et al. 2024).

    For uniform t; a higher bias gives more weight to little noise.
    """

    bias: float = 2.0

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        alpha, sigma, falling = _inside(process, t)
        # sigmoid(bias - logSNR)/sigma², which stays finite where the log-SNR does not.
        share = 1 / (sigma**2 + jnp.exp(-self.bias) * alpha**2)
        return _read_in(process, parameterization, t, share * alpha * sigma * falling)


def _inside(process, t):
    """Returns alpha, sigma and `falling` = alpha·dsigma/dt - sigma·dalpha/dt, short of the ends.

    -½·dlogSNR/dt = falling/(alpha·sigma). At the ends the slopes of many schedules are infinite
    where the weight is not.
    """
    eps = float(jnp.finfo(t.dtype).eps)
    t = jnp.clip(t, eps, 1 - eps)
    falling = process.determinant(parameterizations.velocity, t)
    return process.schedule.alpha(t), process.schedule.sigma(t), falling
