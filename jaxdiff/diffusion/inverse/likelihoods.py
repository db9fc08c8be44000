"""Guidance by the likelihood of a measurement `operator(x0) + noise`.

An operator is a function of a batch, such as in `operators.py`. A measurement has the shape
of `operator(x0)`, [b, ...], or [1, ...] for every example.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdiff.diffusion.guidance.branches import dot, with_score
from jaxdiff.diffusion.guidance.likelihoods import LossGuidance
from jaxdiff.diffusion.inverse.operators import Decoded, Operator
from jaxdiff.diffusion.process import Process
from jaxdiff.options import NonNegativeFloat, PositiveFloat, TableSize
from jaxdiff.trees import pytree, replaced
from jaxdiff.typing import Denoiser

PositiveScalar = PositiveFloat | Float[Array, ""]
NonNegativeScalar = NonNegativeFloat | Float[Array, ""]


@pytree(data=("measurement", "scale"))
@dataclass(frozen=True)
class DPS:
    """score - scale/‖r‖·∇‖r‖² with the residual r = y - operator(x0(x_t)) (Chung et al. 2023).

    Algorithm 1 of the paper subtracts the same gradient from x after each step; here it is part of
    the score, for any solver. The operator may be nonlinear. `scale` is ζ' of the paper, which
    grows with √(measurements).
    """

    process: Process
    operator: Operator
    measurement: ArrayLike
    scale: PositiveScalar = 1.0

    def in_latents(self, encode: Callable, decode: Callable) -> "DPS":
        """Returns the same problem for latents, whose operator decodes first."""
        return replaced(self, operator=Decoded(self.operator, decode))

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""

        def twice_the_norm(x0):  # ∇‖r‖²/‖r‖ = 2∇‖r‖
            residual = jnp.asarray(self.measurement) - self.operator(x0)
            squared = dot(residual, residual).reshape(len(x0))
            # A norm has no slope at zero; the inner `where` keeps a NaN out of the gradient.
            return 2 * jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)

        return LossGuidance(self.process, twice_the_norm, self.scale)(denoiser)


@pytree(data=("measurement", "noise_std", "data_std"))
@dataclass(frozen=True)
class PiGDM:
    """ΠGDM, for linear operators A (Song, J. et al. 2023), exact for Gaussian data of `data_std`.

    With p(x0 | x_t) = N(x0(x_t), r²): the score plus Jᵀ·(r²·AᵀA + noise_std²)⁻¹·Aᵀ·(y - A·x0),
    where J is the derivative of x0(x_t). Conjugate gradients solve it, and autodiff transposes A;
    for noise_std = 0 they give the pseudo-inverse.
    """

    process: Process
    operator: Operator
    measurement: ArrayLike
    noise_std: NonNegativeScalar = 0.0
    data_std: PositiveScalar = 1.0
    iterations: TableSize = 50

    def in_latents(self, encode: Callable, decode: Callable) -> "PiGDM":
        """Raises ValueError: a decoder is not linear."""
        raise ValueError("PiGDM is for linear operators, and decoding latents is none; take DPS")

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the guided denoiser."""

        def guided(x, t, cond):
            predict = lambda x, t: self._predict(denoiser, x, t, cond)
            return with_score(self.process, predict, x, t)

        return guided

    def _predict(self, denoiser, x, t, cond):
        """Returns the prediction, and the gradient of log p(y | x_t)."""

        def x0_of(x):
            prediction = denoiser(x, t, cond)
            return prediction.x0, prediction

        x0, transpose_j, prediction = jax.vjp(x0_of, x, has_aux=True)
        alpha, sigma = self.process.at(t, x)
        r2 = (self.data_std * sigma) ** 2 / ((self.data_std * alpha) ** 2 + sigma**2)
        r2 = jnp.where(sigma > 0, r2, 1)  # at sigma = 0 the score has no effect
        A = lambda z: self.operator(z[None])[0]
        transpose = jax.linear_transpose(A, x0[0])
        misfit = jax.vmap(lambda r: transpose(r)[0])(self.measurement - self.operator(x0))

        def solve(misfit, ridge):
            normal = lambda z: transpose(A(z))[0] + ridge * z
            return cg(normal, misfit, tol=1e-6, maxiter=self.iterations)[0]

        # One example at a time, so that none decides when another has converged.
        z = jax.vmap(solve)(misfit, self.noise_std**2 / r2) / r2
        return prediction, transpose_j(z)[0]
