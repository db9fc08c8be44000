"""Distributions of the noise level sigma/alpha, on any process."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.time_sampling.base import Uniforms, independent, normal
from jaxdiff.options import PositiveFloat, Share
from jaxdiff.trees import pytree
from jaxdiff.typing import Time


@pytree()
@dataclass(frozen=True)
class EDMLogNormal:
    """log(sigma/alpha) normal (Karras et al. 2022, table 1: P_mean, P_std)."""

    mean: float = -1.2
    std: PositiveFloat = 1.2
    __call__ = independent

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """The time at which log(sigma/alpha) = mean + std·z; t = 1 beyond the schedule's end."""
        return process.time(-2 * (self.mean + self.std * normal(u)))


@pytree()
@dataclass(frozen=True)
class KarrasUniform:
    """Uniform over a share of `Karras`'s grid of noise levels, from `low` to `high` of it.

    DMD2 draws so, from 0.02 to 0.98 (Yin et al. 2024b).
    """

    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0
    rho: PositiveFloat = 7.0
    low: Share = 0.0
    high: Share = 1.0
    __call__ = independent

    def __post_init__(self):
        if not (self.sigma_min < self.sigma_max and self.low < self.high):
            raise ValueError(
                f"KarrasUniform: sigma_min={self.sigma_min} must be below sigma_max="
                f"{self.sigma_max}, and low={self.low} below high={self.high}"
            )

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """The time at which (sigma/alpha)^(1/rho) is the place between its ends."""
        first, last = (sigma ** (1 / self.rho) for sigma in (self.sigma_min, self.sigma_max))
        place = self.low + u * (self.high - self.low)
        return process.time(-2 * self.rho * jnp.log(first + place * (last - first)))


@pytree()
@dataclass(frozen=True)
class LogStudent:
    """log(sigma/alpha) of Student's distribution, cut off outside of `low` to `high`.

    With few degrees of freedom nearly all is near the mean, and the rest even in the logarithm of
    the distance from it (Lee et al. 2024, TCM, whose log has `low` 1 and `high` 80).
    """

    freedom: PositiveFloat = 0.01
    mean: float = 0.0
    std: PositiveFloat = 0.2
    low: PositiveFloat = 1.0
    high: PositiveFloat = 80.0
    __call__ = independent

    def __post_init__(self):
        if not self.low < self.high:
            raise ValueError(f"LogStudent: low={self.low} must be below high={self.high}")

    def quantile(self, process: Process, u: Uniforms) -> Time:
        """The time of a noise level, by interpolation in a table of the distribution function."""
        place = lambda level: np.arcsinh((np.log(level) - self.mean) / self.std * 1e3)
        # Finest around the mean, where the density may be narrow.
        places = np.linspace(place(self.low), place(self.high), 4097)
        x = self.mean + self.std * 1e-3 * np.sinh(places)
        density = (1 + ((x - self.mean) / self.std) ** 2 / self.freedom) ** (
            -(self.freedom + 1) / 2
        )
        steps = np.diff(x) * (density[1:] + density[:-1]) / 2
        reached = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()
        return process.time(-2 * jnp.interp(u, jnp.asarray(reached), jnp.asarray(x)))
