"""RePaint: inpainting that goes back and forth, a solver around a solver.

It has to add noise again between evaluations, which no denoiser can do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdiff import random
from jaxdiff.diffusion.inverse.known_pixels import latent_mask
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.solvers.coordinates import add_noise
from jaxdiff.options import TableSize
from jaxdiff.trees import pytree, replaced
from jaxdiff.typing import Cond, Denoiser, Prediction, Solver, Span


@pytree(data=("mask", "known"))
@dataclass(frozen=True)
class RePaint:
    """Takes each step `resamples` times, with noised known pixels (Lugmayr et al. 2022, alg. 1).

    `mask` is True where `known` is; both broadcast to x. Between two takes of a step x_s is brought
    back to time t by the forward process, one step long (jump length 1 of the paper).
    """

    process: Process
    solver: Solver
    mask: ArrayLike
    known: ArrayLike
    resamples: TableSize = 10
    stochastic = True

    def in_latents(self, encode: Callable, decode: Callable) -> "RePaint":
        """Returns the same problem for latents, which are known where all of their pixels are."""
        known = encode(self.known)
        return replaced(self, known=known, mask=latent_mask(self.mask, known.shape[1:]))

    def init(self, x: Float[Array, "b *shape"]) -> Any:
        """Returns the solver's history."""
        return self.solver.init(x)

    def step(
        self,
        denoiser: Denoiser,
        x: Float[Array, "b *shape"],
        span: Span,
        cond: Cond,
        history: Any,
    ) -> tuple[Float[Array, "b *shape"], Any]:
        """Takes the step, replaces the known pixels, returns, and takes it again."""

        def take(index, carry):
            x_t, _, _ = carry
            keys = random.fold_in(random.stream(span.keys, "repaint"), index)
            inner = span._replace(keys=random.stream(keys, "solver"))
            unknown, after = self.solver.step(denoiser, x_t, inner, cond, history)
            noise = random.normal(random.stream(keys, "known"), x)
            clean = Prediction(
                x0=jnp.broadcast_to(self.known, x.shape).astype(x.dtype), noise=noise
            )
            x_s = jnp.where(self.mask, self.process.perturb(clean, span.s), unknown)
            return self._back(x_t, x_s, span, random.stream(keys, "back")), x_s, after

        _, x_s, after = jax.lax.fori_loop(0, self.resamples, take, (x, x, history))
        return x_s, after

    def _back(self, x_t, x_s, span, keys):
        noisier = add_noise(self.process, x_s, span.s, span.t, random.normal(keys, x_s))
        _, sigma_s = self.process.at(span.s, x_s)
        # The last step, to the data, does not go back.
        return jnp.where(sigma_s > 0, noisier, x_t)
