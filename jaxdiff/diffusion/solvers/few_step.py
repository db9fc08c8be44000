"""Solvers for models that know where the flow leads: consistency models and flow maps.

Each has an attribute `needs`, the prediction that the model must have learned: "consistency" (x0
from any time) or "flow map" (x at any earlier time, by cond["until"]).
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from jaxdiff.diffusion import flow_map
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.solvers.coordinates import Data, no_history
from jaxdiff.options import Share
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Denoiser, Prediction, Span


@pytree()
@dataclass(frozen=True)
class Consistency:
    """To the data in one evaluation, and back to s with new noise (Song et al. 2023, algorithm 1).

    Of a flow map it asks for the data. Latent consistency models sample so (Luo et al. 2023, LCM).
    """

    process: Process
    stochastic = True
    needs = "consistency"
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """alpha_s·f(x, t) + sigma_s·z."""
        end = jnp.zeros_like(span.t)
        x0 = flow_map.ask(denoiser, x, span.t, end, cond).x0
        return self.process.perturb(Prediction(x0, span.noise(x)), span.s), history


LCM = Consistency


@pytree()
@dataclass(frozen=True)
class FlowMap:
    """To s in one evaluation, without noise: exact where the model is (Boffi et al. 2025)."""

    process: Process
    stochastic = False
    needs = "flow map"
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """X(x, t, s)."""
        return flow_map.jump(self.process, denoiser, x, span.t, span.s, cond), history


@pytree(data=("gamma",))
@dataclass(frozen=True)
class TCD:
    """Below s, to (1 - gamma)·s, and back with new noise (Zheng et al. 2024, section 4.3).

    gamma = 0 is `FlowMap`, gamma = 1 is `Consistency`.
    """

    process: Process
    gamma: Share = 0.3
    stochastic = True
    needs = "flow map"
    init = no_history

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """X(x, t, s') at s' = (1 - gamma)·s, forward to s."""
        below = (1 - self.gamma) * span.s
        x_below = flow_map.jump(self.process, denoiser, x, span.t, below, cond)
        (alpha, _), (alpha_s, sigma_s) = (self.process.at(t, x) for t in (below, span.s))
        change = self.process.logsnr(span.s) - self.process.logsnr(below)
        # The share of the variance at s that is new; at the data there is none.
        new = expand(jnp.where(jnp.isnan(change), 0, -jnp.expm1(change)), x)
        return alpha_s / alpha * x_below + jnp.sqrt(new) * sigma_s * span.noise(x), history
