"""Multistep methods with noise prediction: they remember the noise of earlier steps."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp

from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers import adams
from jaxdiff.diffusion.solvers.coordinates import (
    Time,
    at_an_end,
    between,
    half_logsnr,
    noise_step,
    predict_inside,
)
from jaxdiff.options import Between
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Span


@pytree()
@dataclass(frozen=True)
class LMS:
    """Adams-Bashforth on uneven steps in ŝ, of order up to `order` (k-diffusion's LMS).

    One evaluation a step; the first steps are of lower order.
    """

    process: Process
    order: Annotated[int, Between(1, 4)] = 4
    stochastic = False

    def init(self, x: Data) -> adams.Memory:
        """Nothing remembered yet."""
        return adams.empty(self.order, x)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: adams.Memory
    ) -> tuple[Data, adams.Memory]:
        """Integrates the polynomial in ŝ through the noises exactly."""
        first = denoiser(x, span.t, cond)
        history = history.push(first.noise, span.t)
        s_hat = lambda t: jnp.exp(-half_logsnr(self.process, t))
        nodes = s_hat(history.times)
        weights = adams.weights(nodes, jnp.isfinite(nodes), nodes[0], s_hat(span.s), 0.0)
        noise = adams.combine(weights, history.values)
        return noise_step(self.process, x, span.t, span.s, first, noise), history


@pytree()
@dataclass(frozen=True)
class DEIS:
    """Exponential Adams-Bashforth: polynomials in λ, integrated exactly (Zhang & Chen 2023).

    The paper's polynomials are in t; λ makes the result independent of how time is told.
    """

    process: Process
    order: Annotated[int, Between(1, 3)] = 3
    stochastic = False

    def init(self, x: Data) -> adams.Memory:
        """Nothing remembered yet."""
        return adams.empty(self.order, x)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: adams.Memory
    ) -> tuple[Data, adams.Memory]:
        """Integrates e^-λ times the polynomial in λ through the noises exactly."""
        first = denoiser(x, span.t, cond)
        history = history.push(first.noise, span.t)
        nodes, end = half_logsnr(self.process, history.times), half_logsnr(self.process, span.s)
        weights = adams.weights(nodes, jnp.isfinite(nodes), nodes[0], end, -1.0)
        noise = adams.combine(weights, history.values)
        return noise_step(self.process, x, span.t, span.s, first, noise), history


EVEN = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Adams-Bashforth for even steps, of orders 1 to 4."""


@pytree()
@dataclass(frozen=True)
class IPNDM:
    """DDIM with the noise of Adams-Bashforth for even steps (Zhang & Chen 2023, iPNDM).

    Its order is 2 on a grid whose steps in ŝ change smoothly, however many noises it mixes.
    """

    process: Process
    order: Annotated[int, Between(1, 4)] = 4
    stochastic = False

    def init(self, x: Data) -> adams.Memory:
        """Nothing remembered yet."""
        return adams.empty(self.order, x)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: adams.Memory
    ) -> tuple[Data, adams.Memory]:
        """Mixes the noises that there are."""
        first = denoiser(x, span.t, cond)
        history = history.push(first.noise, span.t)
        noise = adams.combine(_even_weights(history), history.values)
        return noise_step(self.process, x, span.t, span.s, first, noise), history


@pytree()
@dataclass(frozen=True)
class PLMS:
    """iPNDM of order 4 that begins with a step of Heun's (Liu et al. 2022; Rombach et al. 2022)."""

    process: Process
    stochastic = False

    def init(self, x: Data) -> adams.Memory:
        """Nothing remembered yet."""
        return adams.empty(4, x)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: adams.Memory
    ) -> tuple[Data, adams.Memory]:
        """Mixes the noises that there are; the first step asks at both of its ends."""
        first = denoiser(x, span.t, cond)
        begins = jnp.isnan(history.times[0])
        history = history.push(first.noise, span.t)
        mixed = adams.combine(_even_weights(history), history.values)

        def heun():
            end = at_an_end(self.process, span.t, span.s)
            euler = self.process.perturb(first, span.s)
            slope = predict_inside(denoiser, euler, span.s, cond, span.t, end).noise
            return jnp.where(expand(end, x), first.noise, (first.noise + slope) / 2)

        noise = jax.lax.cond(begins.all(), heun, lambda: mixed)
        return noise_step(self.process, x, span.t, span.s, first, noise), history


@pytree()
@dataclass(frozen=True)
class PNDM:
    """iPNDM of order 4 whose first three steps are of Runge-Kutta's method (Liu et al. 2022).

    Those take four evaluations each, all others one.
    """

    process: Process
    stochastic = False

    def init(self, x: Data) -> adams.Memory:
        """Nothing remembered yet."""
        return adams.empty(4, x)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: adams.Memory
    ) -> tuple[Data, adams.Memory]:
        """Mixes four noises: of the steps before, or of points within this one."""
        first = denoiser(x, span.t, cond)
        begins = jnp.isnan(history.times[2])
        history = history.push(first.noise, span.t)
        mixed = adams.combine(_even_weights(history), history.values)
        move = lambda s, noise: noise_step(self.process, x, span.t, s, first, noise)

        def runge_kutta():
            end = at_an_end(self.process, span.t, span.s)
            middle = between(self.process, span.t, span.s, 0.5)
            k1 = first.noise
            k2 = denoiser(move(middle, k1), middle, cond).noise
            k3 = denoiser(move(middle, k2), middle, cond).noise
            k4 = predict_inside(denoiser, move(span.s, k3), span.s, cond, span.t, end).noise
            return jnp.where(expand(end, x), k1, (k1 + 2 * k2 + 2 * k3 + k4) / 6)

        noise = jax.lax.cond(begins.all(), runge_kutta, lambda: mixed)
        return move(span.s, noise), history


def _even_weights(history: adams.Memory) -> Time:
    """Weights for as many noises as there are."""
    size = len(history.times)
    table = jnp.asarray([row + (0,) * (size - len(row)) for row in EVEN[:size]])
    known = (~jnp.isnan(history.times)).sum(0)
    return table.astype(history.values.dtype)[known - 1].T
