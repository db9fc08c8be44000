"""Samplers by Langevin dynamics: annealed, and as corrector of another solver."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers.ancestral import DDPM
from jaxdiff.diffusion.solvers.coordinates import Time, no_history
from jaxdiff.options import PositiveFloat, TableSize
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Solver, Span


@pytree()
@dataclass(frozen=True)
class PredictorCorrector:
    """A predictor's step, then Langevin steps at the new time (Song, Y. et al. 2021, alg. 1).

    The step size is 2·(snr·sigma)²: the paper's, with the norms that score and noise have on
    average over many dimensions, so that it depends on no other example and is safe in few
    dimensions. No correction is made where sigma = 0.

    Raises:
        ValueError: there is less than one corrector step, or snr is not positive.
    """

    process: Process
    predictor: Solver | None = None
    """None for ancestral sampling."""
    corrections: TableSize = 1
    snr: PositiveFloat = 0.16
    stochastic = True

    def init(self, x: Data) -> Any:
        """Returns the history of the predictor."""
        return self._predictor().init(x)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Predicts, then corrects."""
        x, history = self._predictor().step(denoiser, x, span, cond, history)
        clean = self.process.schedule.sigma(span.s) == 0
        s = jnp.where(clean, span.t, span.s)
        _, sigma = self.process.at(s, x)
        size = 2 * (self.snr * sigma) ** 2
        corrected = langevin(self.process, denoiser, x, s, cond, span, self.corrections, size)
        return jnp.where(expand(clean, x), x, corrected), history

    def _predictor(self) -> Solver:
        return self.predictor or DDPM(self.process)


@pytree()
@dataclass(frozen=True)
class AnnealedLangevin:
    """Langevin steps at each noise level in turn (Song & Ermon 2019, algorithm 1).

    The step size is `step_size`·sigma²; x is rescaled by alpha_s/alpha_t between levels, and the
    last step replaces x by the denoised x0.

    Raises:
        ValueError: there is less than one step a level, or the step size is not positive.
    """

    process: Process
    steps_per_level: TableSize = 5
    step_size: PositiveFloat = 0.2
    stochastic = True
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Langevin steps at t, then down to s."""
        alpha_t, sigma_t = self.process.at(span.t, x)
        alpha_s, sigma_s = self.process.at(span.s, x)
        size = self.step_size * sigma_t**2
        x = langevin(self.process, denoiser, x, span.t, cond, span, self.steps_per_level, size)
        last = denoiser(x, span.t, cond)
        kept = alpha_s / jnp.where(alpha_t == 0, 1, alpha_t) * x
        down = jnp.where((sigma_s == 0) | (alpha_t == 0), self.process.perturb(last, span.s), kept)
        return down, history


def langevin(
    process: Process,
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    t: Time,
    cond: Cond,
    span: Span,
    count: int,
    size: Float[Array, "b *_"],
) -> Float[Array, "b *shape"]:
    """Takes `count` steps x + size/2·score + √size·z at one time."""
    _, sigma = process.at(t, x)

    def step(x, i):
        z = span.noise(x, "langevin", i)
        score = -denoiser(x, t, cond).noise / sigma
        return x + size / 2 * score + jnp.sqrt(size) * z, None

    return jax.lax.scan(step, x, jnp.arange(count))[0]
