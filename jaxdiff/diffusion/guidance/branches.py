"""Parts of guidance: several conditions in one call, predictions that explain the same x_t."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.condition import drop
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Cond, Denoiser, Prediction

Guidance = Callable[[Denoiser], Denoiser]


def predict_batched(
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    t: Float[Array, "b *frames"],
    conds: Sequence[Cond],
) -> list[Prediction]:
    """Returns the prediction under each of the conditions, from one call of that many batches."""
    repeat = lambda a: jnp.concatenate([a] * len(conds))
    stacked = jax.tree.map(lambda *c: jnp.concatenate(c), *conds)
    prediction = denoiser(repeat(x), repeat(t), stacked)
    each = jax.tree.map(lambda a: a.reshape(len(conds), len(x), *a.shape[1:]), prediction)
    return [jax.tree.map(lambda a: a[i], each) for i in range(len(conds))]


def cond_and_uncond(
    denoiser: Denoiser, x: Float[Array, "b *shape"], t: Float[Array, "b *frames"], cond: Cond
) -> tuple[Prediction, Prediction]:
    """Returns the conditional and the unconditional prediction."""
    conditional, unconditional = predict_batched(denoiser, x, t, [drop(cond, ()), drop(cond)])
    return conditional, unconditional


def with_x0(
    process: Process,
    prediction: Prediction,
    x0: Float[Array, "b *shape"],
    t: Float[Array, "b *frames"],
) -> Prediction:
    """Replaces x0, and moves the noise so that both explain the same x_t as before.

    At sigma = 0 no noise can make up for another x0, and it stays as it is.
    """
    alpha, sigma = process.at(t, x0)
    ratio = jnp.where(sigma > 0, alpha / jnp.where(sigma > 0, sigma, 1), 0)
    return prediction._replace(x0=x0, noise=prediction.noise - ratio * (x0 - prediction.x0))


def with_score(
    process: Process,
    prediction: Prediction,
    gradient: Float[Array, "b *shape"],
    t: Float[Array, "b *frames"],
) -> Prediction:
    """Adds a gradient of log p(x_t) to the score -noise/sigma; both still explain the same x_t.

    At alpha = 0 x_t says nothing of x0, a likelihood of x_t has no gradient, and nothing changes.
    """
    alpha, sigma = process.at(t, gradient)
    informed = alpha > 0
    x0 = prediction.x0 + jnp.where(informed, sigma**2 / jnp.where(informed, alpha, 1) * gradient, 0)
    return prediction._replace(
        x0=x0, noise=prediction.noise - jnp.where(informed, sigma * gradient, 0)
    )


def dot(a: Float[Array, "b *shape"], b: Float[Array, "b *shape"]) -> Float[Array, "b *ones"]:
    """Returns each example's inner product, shaped to broadcast."""
    return jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)
