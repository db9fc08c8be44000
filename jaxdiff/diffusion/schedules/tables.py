"""Schedules of discrete time, from tables of betas."""

from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.options import Filled, NonNegativeFloat, Range, Share, TableSize
from jaxdiff.trees import pytree


def linear_betas(
    steps: TableSize = 1000, start: Share = 1e-4, end: Share = 0.02
) -> tuple[float, ...]:
    """Returns betas evenly spaced from `start` to `end` (Ho et al. 2020, section 4)."""
    return tuple(np.linspace(start, end, steps).tolist())


def scaled_linear_betas(
    steps: TableSize = 1000, start: Share = 0.00085, end: Share = 0.012
) -> tuple[float, ...]:
    """Returns betas whose roots are evenly spaced (Rombach et al. 2022: Stable Diffusion)."""
    return tuple((np.linspace(start**0.5, end**0.5, steps) ** 2).tolist())


def cosine_betas(
    steps: TableSize = 1000, offset: NonNegativeFloat = 0.008, max_beta: Share = 0.999
) -> tuple[float, ...]:
    """Returns the betas of the discrete cosine schedule (Nichol & Dhariwal 2021, eq. 17)."""
    edges = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2) ** 2
    return tuple(np.minimum(1 - edges[1:] / edges[:-1], max_beta).tolist())


@pytree()
@dataclass(frozen=True)
class Tabulated:
    """A discrete-time schedule: a table beta_1 ... beta_N, with step i of N at t = i/N.

    alpha² is linear in t between the steps, and one at t = 0. In a config the table is written as
    a list or by its function: `"Tabulated(betas=scaled_linear_betas(end=0.02))"`.
    """

    betas: Annotated[tuple[Annotated[float, Range(gt=0, le=1)], ...], Filled()] = linear_betas()

    def _interpolate(self, t, variance):
        with np.errstate(divide="ignore"):  # beta_N = 1 is a zero terminal SNR
            logs = np.log1p(-np.array(self.betas))
        table = variance(np.concatenate([[0.0], np.cumsum(logs)]))
        return jnp.sqrt(jnp.interp(t * len(self.betas), np.arange(len(table)), table))

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√∏(1 - beta_i) up to step t·N."""
        return self._interpolate(t, np.exp).astype(t.dtype)

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√(1 - alpha²), without cancellation near t = 0."""
        return self._interpolate(t, lambda log: -np.expm1(log)).astype(t.dtype)
