"""Multistep methods with data prediction, deterministic or stochastic, with or without corrector.

The step is `sde_step`, exact if x0 is its mean over the step with weight e^((1 + τ²)λ), where τ is
the share of noise that is renewed (Xue et al. 2023, SA-Solver). The polynomial through the x0 of
earlier steps gives that mean; with the x0 at s itself, a corrector.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers import adams
from jaxdiff.diffusion.solvers.coordinates import Time, half_logsnr, sde_noise, sde_step
from jaxdiff.options import Between, NonNegativeFloat
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Span


class History(NamedTuple):
    """The x0 of earlier steps, and the corrected start and the added noise of the last step."""

    memory: adams.Memory
    x: Data
    added: Data


@pytree()
@dataclass(frozen=True)
class DataMultistep:
    """Multistep method with data prediction; DPM-Solver++, UniPC and SA-Solver are cases of it.

    `predictor` and `corrector` count the x0 that each uses, 1 to 4; `corrector` 0 for none. One
    evaluation a step: the corrector uses the one that the next step asks for anyway. Where fewer x0
    are known yet, fewer are used.

    Raises:
        ValueError: a count is out of range, tau is negative, or the variant is unknown.
    """

    process: Process
    predictor: Annotated[int, Between(1, 4)]
    corrector: Annotated[int, Between(0, 4)] = 0
    tau: NonNegativeFloat = 0.0
    variant: Literal["", "bh1", "bh2"] = ""

    @property
    def stochastic(self) -> bool:
        """Whether noise is renewed."""
        return self.tau > 0

    def init(self, x: Data) -> History:
        """Returns an empty history; a corrector needs the time of the last step as well."""
        size = max(self.predictor, self.corrector, 2 if self.corrector else 1)
        return History(adams.empty(size, x), jnp.zeros_like(x), jnp.zeros_like(x))

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: History
    ) -> tuple[Data, History]:
        """Corrects x by the x0 at x, then predicts x_s."""
        memory = history.memory.push(denoiser(x, span.t, cond).x0, span.t)
        move = lambda x, t, s, x0: sde_step(self.process, x, t, s, x0, self.tau)
        if self.corrector:
            before = jnp.where(jnp.isnan(memory.times[1]), span.t, memory.times[1])
            x0 = self._mean(memory, before, span.t, self.corrector, corrects=True)
            corrected = move(history.x, before, span.t, x0) + history.added
            usable = jnp.isfinite(half_logsnr(self.process, memory.times[1]))
            x = jnp.where(expand(usable, x), corrected, x)
        x0 = self._mean(memory, span.t, span.s, self.predictor)
        added = sde_noise(self.process, span.t, span.s, span.noise(x), self.tau)
        return move(x, span.t, span.s, x0) + added, History(memory, x, added)

    def _mean(self, memory, t, s, order, corrects=False) -> Data:
        nodes = half_logsnr(self.process, memory.times[:order])
        start, end = half_logsnr(self.process, t), half_logsnr(self.process, s)
        usable = jnp.isfinite(nodes)
        weights = adams.weights(nodes, usable, start, end, 1 + self.tau**2)
        if self.variant and order >= 2:
            two = usable.sum(0) == 2
            simple = _two_node_weights(self.variant, nodes, start, end, corrects)
            simple = jnp.zeros_like(weights).at[:2].set(simple)
            both = two & jnp.isfinite(start) & jnp.isfinite(end)
            weights = jnp.where(both, simple, weights)
        return adams.combine(weights, memory.values[:order])


def _two_node_weights(kind: str, nodes: Array, start: Time, end: Time, corrects: bool) -> Array:
    """Returns UniPC's weights of two x0: half of their difference, times B(h)/(1 - e^-h)."""
    h = end - start
    scale = jnp.ones_like(h) if kind == "bh2" else h / -jnp.expm1(-h)
    if corrects:
        return jnp.stack([scale / 2, 1 - scale / 2])
    share = scale / 2 * h / (nodes[0] - nodes[1])
    return jnp.stack([1 + share, -share])


@pytree()
@dataclass(frozen=True)
class DPMpp2M:
    """DPM-Solver++(2M): multistep in x0 and λ, order 2 (Lu et al. 2022b, algorithm 2).

    One evaluation a step; the first step and a last one to sigma = 0 are of order 1.
    """

    process: Process
    stochastic = False

    def init(self, x: Data) -> tuple[Data, Time]:
        """Returns no x0, at λ = -∞, which gives it no weight."""
        return jnp.zeros_like(x), jnp.full(len(x), -jnp.inf, x.dtype)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: tuple[Data, Time]
    ) -> tuple[Data, tuple[Data, Time]]:
        """Integrates with the x0 extrapolated linearly to the middle of the step."""
        x0_before, lambda_before = history
        lambda_t, lambda_s = (half_logsnr(self.process, t) for t in (span.t, span.s))
        step, step_before = lambda_s - lambda_t, lambda_t - lambda_before
        weight = jnp.where(jnp.isinf(step) | jnp.isinf(step_before), 0, step / (2 * step_before))
        x0 = denoiser(x, span.t, cond).x0
        extrapolated = x0 + expand(weight, x) * (x0 - x0_before)
        alpha_t, sigma_t = self.process.at(span.t, x)
        alpha_s, sigma_s = self.process.at(span.s, x)
        shrink = sigma_s / sigma_t
        return shrink * x + (alpha_s - shrink * alpha_t) * extrapolated, (x0, lambda_t)


def DPMpp3M(process: Process) -> DataMultistep:
    """DPM-Solver++(3M), order 3: the parabola through three x0, integrated exactly.

    Lu et al. (2022b) leave it out; implementations that are in use lack a factor 2 in the second
    difference, and are of order 2 for it.
    """
    return DataMultistep(process, predictor=3)


def UniPC(
    process: Process,
    order: Annotated[int, Between(1, 3)] = 2,
    variant: Literal["bh1", "bh2"] = "bh2",
) -> DataMultistep:
    """UniPC with data prediction (Zhao et al. 2023): corrector of order `order` + 1, for free.

    `variant` is B(h), "bh1" for h and "bh2" for e^h - 1; it matters where only two x0 are
    used.

    Raises:
        ValueError: the order is not 1, 2 or 3, or the variant is unknown.
    """
    return DataMultistep(process, predictor=order, corrector=order + 1, variant=variant)


def SASolver(
    process: Process,
    predictor: Annotated[int, Between(1, 4)] = 3,
    corrector: Annotated[int, Between(0, 4)] = 3,
    tau: NonNegativeFloat = 1.0,
) -> DataMultistep:
    """SA-Solver: stochastic Adams (Xue et al. 2023); `tau` is the share of noise that is renewed.

    `predictor` and `corrector` are the numbers of x0 that each uses, 1 to 4; `corrector` 0 for
    none.

    Raises:
        ValueError: an order is out of range, or tau is negative.
    """
    return DataMultistep(process, predictor, corrector, tau)


def DPMpp2MSDE(process: Process, tau: NonNegativeFloat = 1.0) -> DataMultistep:
    """DPM-Solver++(2M) for the SDE (k-diffusion); 0 for `tau` is the ODE, 1 ancestral noise."""
    return SASolver(process, predictor=2, corrector=0, tau=tau)


def DPMpp3MSDE(process: Process, tau: NonNegativeFloat = 1.0) -> DataMultistep:
    """DPM-Solver++(3M) for the SDE (k-diffusion); 0 for `tau` is the ODE, 1 ancestral noise."""
    return SASolver(process, predictor=3, corrector=0, tau=tau)
