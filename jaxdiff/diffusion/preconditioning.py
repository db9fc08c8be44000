"""Scaling of x_t and of the time at a network's entrance."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff.diffusion.process import Process
from jaxdiff.options import PositiveFloat, TableSize
from jaxdiff.trees import pytree
from jaxdiff.typing import Data, Time

InputScaling = Callable[[Process, Array, Array], Array]
TimeInput = Callable[[Process, Array], Array]


@pytree()
@dataclass(frozen=True)
class Unscaled:
    """x_t as it is, for processes that preserve the variance."""

    def __call__(self, process: Process, x: Data, t: Time) -> Data:
        """Returns x."""
        return x


@pytree()
@dataclass(frozen=True)
class UnitVariance:
    """c_in·x_t: variance one at every noise level (Karras et al. 2022, table 1), for any alpha."""

    data_std: PositiveFloat = 0.5

    def __call__(self, process: Process, x: Data, t: Time) -> Data:
        """Returns x/√(alpha²·data_std² + sigma²)."""
        alpha, sigma = process.at(t, x)
        return x / jnp.sqrt((alpha * self.data_std) ** 2 + sigma**2)


@pytree()
@dataclass(frozen=True)
class ScaledTime:
    """scale·t, in the range for which sinusoidal embeddings were made."""

    scale: PositiveFloat = 1000.0

    def __call__(self, process: Process, t: Time) -> Time:
        """Returns the network's time input [b]."""
        return self.scale * t


@pytree()
@dataclass(frozen=True)
class TimeToData:
    """1 - t: the time from noise at 0 to data at 1 (Ma et al. 2024, SiT)."""

    def __call__(self, process: Process, t: Time) -> Time:
        """Returns the network's time input [b]."""
        return 1 - t


@pytree()
@dataclass(frozen=True)
class DiscreteIndex:
    """The index 0 ... steps - 1 that discrete-time models expect, for t = 1/steps ... 1.

    With `round` False, times between the model's steps have an index in between.
    """

    steps: TableSize = 1000
    round: bool = True

    def __call__(self, process: Process, t: Time) -> Time:
        """Returns the network's time input [b]."""
        index = t * self.steps
        return (jnp.round(index) if self.round else index) - 1


@pytree()
@dataclass(frozen=True)
class LogNoise:
    """scale·log(sigma/alpha): c_noise with scale 1/4 (Karras et al. 2022, table 1)."""

    scale: PositiveFloat = 0.25

    def __call__(self, process: Process, t: Time) -> Time:
        """Returns the network's time input [b]."""
        return -0.5 * self.scale * process.logsnr(t)
