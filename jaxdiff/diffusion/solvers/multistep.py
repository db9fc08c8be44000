"""Multistep methods with noise prediction: they remember the noise of earlier steps."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers import adams
from jaxdiff.diffusion.solvers.coordinates import (
    at_an_end,
    between,
    half_logsnr,
    noise_step,
    predict_inside,
)
from jaxdiff.options import Between
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Prediction, Span


def _step(
    self: Any, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: adams.Memory
) -> tuple[Data, adams.Memory]:
    """Moves along the mean of the remembered noises by `self.weights`."""
    first = denoiser(x, span.t, cond)
    history = history.push(first.noise, span.t)
    noise = adams.combine(self.weights(history.times, span.s), history.values)
    return noise_step(self.process, x, span.t, span.s, first, noise), history


def _started_step(
    self: Any, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: adams.Memory
) -> tuple[Data, adams.Memory]:
    """Moves along the noise of `self.start` in the first steps, then along iPNDM's mean."""
    first = denoiser(x, span.t, cond)
    begins = jnp.isnan(history.times[self.starts - 1])
    history = history.push(first.noise, span.t)
    mean = adams.combine(_even_weights(history.times), history.values)
    start = lambda: self.start(denoiser, x, span, cond, first)
    noise = jax.lax.cond(begins.all(), start, lambda: mean)
    return noise_step(self.process, x, span.t, span.s, first, noise), history


@pytree()
@dataclass(frozen=True)
class LMS:
    """Adams-Bashforth on uneven steps in ŝ, of order up to `order` (k-diffusion's LMS).

    One evaluation a step; the first steps are of lower order.
    """

    process: Process
    order: Annotated[int, Between(1, 4)] = 4
    stochastic = False
    init = adams.begin
    step = _step

    def weights(self, times: Float[Array, "k b"], s: Float[Array, " b"]) -> Float[Array, "k b"]:
        """Returns the weights of the integral of the polynomial in ŝ."""
        s_hat = lambda t: jnp.exp(-half_logsnr(self.process, t))
        nodes = s_hat(times)
        return adams.weights(nodes, jnp.isfinite(nodes), nodes[0], s_hat(s), 0.0)


@pytree()
@dataclass(frozen=True)
class DEIS:
    """Exponential Adams-Bashforth: polynomials in λ, integrated exactly (Zhang & Chen 2023).

    The paper's polynomials are in t; in λ the result is the same for every schedule.
    """

    process: Process
    order: Annotated[int, Between(1, 3)] = 3
    stochastic = False
    init = adams.begin
    step = _step

    def weights(self, times: Float[Array, "k b"], s: Float[Array, " b"]) -> Float[Array, "k b"]:
        """Returns the weights of the integral of e^-λ times the polynomial in λ."""
        nodes, end = half_logsnr(self.process, times), half_logsnr(self.process, s)
        return adams.weights(nodes, jnp.isfinite(nodes), nodes[0], end, -1.0)


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
    init = adams.begin
    step = _step

    def weights(self, times: Float[Array, "k b"], s: Float[Array, " b"]) -> Float[Array, "k b"]:
        """Returns the weights of all noises that are known, as if all steps were even."""
        return _even_weights(times)


@pytree()
@dataclass(frozen=True)
class PLMS:
    """iPNDM of order 4 that begins with a step of Heun's (Liu et al. 2022; Rombach et al. 2022)."""

    process: Process
    order = 4
    starts = 1
    stochastic = False
    init = adams.begin
    step = _started_step

    def start(self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, first: Prediction) -> Data:
        """Returns the mean of the noises at both ends of the step."""
        end = at_an_end(self.process, span.t, span.s)
        euler = self.process.perturb(first, span.s)
        slope = predict_inside(denoiser, euler, span.s, cond, span.t, end).noise
        return jnp.where(expand(end, x), first.noise, (first.noise + slope) / 2)


@pytree()
@dataclass(frozen=True)
class PNDM:
    """iPNDM of order 4 whose first three steps are of Runge-Kutta's method (Liu et al. 2022).

    These take four evaluations each, all others one.
    """

    process: Process
    order = 4
    starts = 3
    stochastic = False
    init = adams.begin
    step = _started_step

    def start(self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, first: Prediction) -> Data:
        """Returns the mean of four noises, of weights 1, 2, 2, 1."""
        move = lambda s, noise: noise_step(self.process, x, span.t, s, first, noise)
        end = at_an_end(self.process, span.t, span.s)
        middle = between(self.process, span.t, span.s, 0.5)
        k1 = first.noise
        k2 = denoiser(move(middle, k1), middle, cond).noise
        k3 = denoiser(move(middle, k2), middle, cond).noise
        k4 = predict_inside(denoiser, move(span.s, k3), span.s, cond, span.t, end).noise
        return jnp.where(expand(end, x), k1, (k1 + 2 * k2 + 2 * k3 + k4) / 6)


def _even_weights(times: Float[Array, "k b"]) -> Float[Array, "k b"]:
    """Returns the weights of all noises that are known."""
    table = jnp.asarray([row + (0,) * (len(times) - len(row)) for row in EVEN[: len(times)]])
    known = (~jnp.isnan(times)).sum(0)
    return table.astype(times.dtype)[known - 1].T
