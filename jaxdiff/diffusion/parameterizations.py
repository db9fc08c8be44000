"""Parameterizations: the row `(a, b)` of a network's prediction `y = a·x0 + b·noise` at time t.

`process.py` turns any parameterization into any other by one 2×2 solve.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion.schedules import Schedule
from jaxdiff.options import PositiveFloat, Range, checked

Time = Float[Array, "*t"]
Row = tuple[Float[Array, "*t"], Float[Array, "*t"]]

KIND = Callable[[Schedule, Array], Row]
"""The kind of objects that the names of this module build."""


def x0(schedule: Schedule, t: Time) -> Row:
    """Predicts the data; gives no noise at sigma = 0."""
    return jnp.ones_like(t), jnp.zeros_like(t)


def noise(schedule: Schedule, t: Time) -> Row:
    """Predicts the noise, epsilon (Ho et al. 2020); gives no data at alpha = 0."""
    return jnp.zeros_like(t), jnp.ones_like(t)


def score(schedule: Schedule, t: Time) -> Row:
    """Predicts the gradient of the log-density of x_t, -noise/sigma (Song, Y. et al. 2021)."""
    return jnp.zeros_like(t), -1 / schedule.sigma(t)


def v(schedule: Schedule, t: Time) -> Row:
    """Predicts alpha·noise - sigma·x0 (Salimans & Ho 2022)."""
    return -schedule.sigma(t), schedule.alpha(t)


def velocity(schedule: Schedule, t: Time) -> Row:
    """Predicts dx/dt along the process (Lipman et al. 2023; Liu et al. 2023)."""
    derivative = lambda f: jax.jvp(f, (t,), (jnp.ones_like(t),))[1]
    return derivative(schedule.alpha), derivative(schedule.sigma)


def velocity_to_data(schedule: Schedule, t: Time) -> Row:
    """Predicts -dx/dt, from noise to data (Ma et al. 2024, SiT)."""
    alpha, sigma = velocity(schedule, t)
    return -alpha, -sigma


@checked
@dataclass(frozen=True)
class edm:  # noqa: N801 - named like `v` and `noise`
    """Predicts F of `x0 = c_skip·x + c_out·F` (Karras et al. 2022, table 1), for any alpha.

    With D = alpha²·data_std² + sigma²: c_skip = alpha·data_std²/D and c_out = sigma·data_std/√D.
    The row ((1 - c_skip·alpha)/c_out, -c_skip·sigma/c_out) is written without the division by
    sigma that cancels.
    """

    data_std: PositiveFloat = 0.5

    def __call__(self, schedule: Schedule, t: Time) -> Row:
        """Returns (a, b)."""
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        root = jnp.sqrt((alpha * self.data_std) ** 2 + sigma**2)
        return sigma / (self.data_std * root), -alpha * self.data_std / root


@checked
@dataclass(frozen=True)
class bounded_edm:  # noqa: N801 - named like `v` and `noise`
    """Predicts F of `x0 = c_skip·x + c_out·F`, where x0 = x at sigma = `sigma_min`.

    With s = sigma - sigma_min: c_skip = data_std²/(s² + data_std²) and c_out = s·data_std/√(sigma²
    + data_std²), of a process with alpha = 1 (Song et al. 2023, appendix C). It says nothing at
    sigma_min.
    """

    data_std: PositiveFloat = 0.5
    sigma_min: PositiveFloat = 0.002

    def __call__(self, schedule: Schedule, t: Time) -> Row:
        """Returns (a, b)."""
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        s, variance = sigma - self.sigma_min, self.data_std**2
        skip = variance / (s**2 + variance)
        out = s * self.data_std / jnp.sqrt(sigma**2 + variance)
        return (1 - skip * alpha) / out, -skip * sigma / out


@checked
@dataclass(frozen=True)
class flow_x0:  # noqa: N801 - named like `v` and `noise`
    """Predicts x_t - max(t, `floor`)·dx/dt: on a rectified flow the data, above the floor.

    Read as a velocity it is (x_t - y)/max(t, `floor`), which is finite at t = 0, where `x0` says
    nothing (Li & He 2025, JiT; Lu et al. 2026, pMF).
    """

    floor: Annotated[float, Range(gt=0, lt=1)] = 0.05

    def __call__(self, schedule: Schedule, t: Time) -> Row:
        """Returns (a, b)."""
        reach = jnp.maximum(t, self.floor)
        slopes = velocity(schedule, t)
        return schedule.alpha(t) - reach * slopes[0], schedule.sigma(t) - reach * slopes[1]
