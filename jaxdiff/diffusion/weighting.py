"""Loss weights: functions of the noise level that multiply a squared error.

A weighting is stated as w(t) on |x0 - x0'|². Given x_t, an error in y = a·x0 + b·noise is
determinant/sigma times the error in x0, so the same loss, read in another parameterization, has
the weight w·sigma²/determinant². Each weighting is thereby right in every parameterization.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion import parameterizations
from jaxdiff.diffusion.process import Parameterization, Process

Time = Float[Array, " b"]


@runtime_checkable
class Weighting(Protocol):
    """A weight for each noise level."""

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""


def _from_x0(process, parameterization, t, weight):
    return weight * (process.schedule.sigma(t) / process.determinant(parameterization, t)) ** 2


@dataclass(frozen=True)
class Simple:
    """One, in the loss's own parameterization (Ho et al. 2020, eq. 14)."""

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        return jnp.ones_like(t)


@dataclass(frozen=True)
class MinSNR:
    """min(SNR, gamma) on the error in x0 (Hang et al. 2023, section 3.4)."""

    gamma: float = 5.0

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        snr = jnp.exp(process.logsnr(t))
        return _from_x0(process, parameterization, t, jnp.minimum(snr, self.gamma))


@dataclass(frozen=True)
class EDM:
    """1/c_out² on the error in x0: unit weight on the error in F (Karras et al. 2022, table 1)."""

    data_std: float = 0.5

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        unit = process.determinant(parameterizations.edm(self.data_std), t)
        return (unit / process.determinant(parameterization, t)) ** 2


@dataclass(frozen=True)
class ELBO:
    """-½·dSNR/dt on the error in x0, for uniform t: the bound of Kingma et al. (2021, eq. 16)."""

    def __call__(self, process: Process, parameterization: Parameterization, t: Time) -> Time:
        """Returns the weight [b] of the squared error in the parameterization."""
        snr = lambda t: jnp.exp(process.logsnr(t))
        slope = jax.jvp(snr, (t,), (jnp.ones_like(t),))[1]
        return _from_x0(process, parameterization, t, -0.5 * slope)
