"""Guidance by a likelihood: its gradient is added to the score of x_t."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
from jaxtyping import Array

from jaxdiff.diffusion.guidance.branches import with_score
from jaxdiff.diffusion.process import Process
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Denoiser, Scalar


@pytree(data=("scale",))
@dataclass(frozen=True)
class ClassifierGuidance:
    """score + scale·∇ log p(y | x_t) (Dhariwal & Nichol 2021).

    `log_probability(x, t, cond)` returns log p(y | x_t) [b] of the classes that `cond` asks for.
    """

    process: Process
    log_probability: Callable[[Array, Array, Cond], Array]
    scale: Scalar = 1.0

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""

        def guided(x, t, cond):
            def predict(x, t):
                gradient = jax.grad(lambda x: self.log_probability(x, t, cond).sum())(x)
                return denoiser(x, t, cond), self.scale * gradient

            return with_score(self.process, predict, x, t)

        return guided


@pytree(data=("scale",))
@dataclass(frozen=True)
class LossGuidance:
    """score - scale·∇ loss(x0(x_t)), differentiated through the denoiser (Chung et al. 2023).

    `loss(x0)` returns one value [b] per example.
    """

    process: Process
    loss: Callable[[Array], Array]
    scale: Scalar = 1.0

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""

        def guided(x, t, cond):
            def predict(x, t):
                def total(x):
                    prediction = denoiser(x, t, cond)
                    return self.loss(prediction.x0).sum(), prediction

                gradient, prediction = jax.grad(total, has_aux=True)(x)
                return prediction, -self.scale * gradient

            return with_score(self.process, predict, x, t)

        return guided
