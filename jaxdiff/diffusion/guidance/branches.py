"""Parts of guidance: several conditions in one call, consistent changes of a prediction."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from einops import rearrange
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
    """Returns the prediction under each of k conditions, by one call with a batch of k·b."""
    k = len(conds)
    repeated = lambda a: jnp.concatenate([a] * k)
    stacked = jax.tree.map(lambda *c: jnp.concatenate(c), *conds)
    prediction = denoiser(repeated(x), repeated(t), stacked)
    each = jax.tree.map(lambda a: rearrange(a, "(k b) ... -> k b ...", k=k), prediction)
    return [jax.tree.map(lambda a: a[i], each) for i in range(k)]


def cond_and_uncond(
    denoiser: Denoiser, x: Float[Array, "b *shape"], t: Float[Array, "b *frames"], cond: Cond
) -> tuple[Prediction, Prediction]:
    """Returns the conditional and the unconditional prediction, by one call."""
    conditional, unconditional = predict_batched(denoiser, x, t, [drop(cond, ()), drop(cond)])
    return conditional, unconditional


def with_x0(
    process: Process,
    prediction: Prediction,
    x0: Float[Array, "b *shape"],
    t: Float[Array, "b *frames"],
) -> Prediction:
    """Replaces x0, and changes the noise so that both still give the same x_t.

    At sigma = 0 no noise compensates for another x0, and the noise does not change.
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
    """Adds a gradient of log p(x_t) to the score -noise/sigma; x0 and noise still give x_t.

    At alpha = 0 the noised data x_t do not depend on x0, and the prediction does not change.
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
