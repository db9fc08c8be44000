"""Parts of guidance: predictions under several conditions in one call, changes of a prediction."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float

from jaxdiff.condition import drop
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Cond, Data, Denoiser, Prediction, Time

Guidance = Callable[[Denoiser], Denoiser]


def predict_batched(
    denoiser: Denoiser,
    x: Data,
    t: Time,
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
    denoiser: Denoiser, x: Data, t: Time, cond: Cond
) -> tuple[Prediction, Prediction]:
    """Returns the conditional and the unconditional prediction, by one call."""
    conditional, unconditional = predict_batched(denoiser, x, t, [drop(cond, ()), drop(cond)])
    return conditional, unconditional


def with_x0(
    process: Process,
    prediction: Prediction,
    x0: Data,
    t: Time,
) -> Prediction:
    """Replaces x0, and changes the noise so that both still give the same x_t.

    At sigma = 0 no noise compensates for another x0, and the noise does not change.
    """
    alpha, sigma = process.at(t, x0)
    ratio = jnp.where(sigma > 0, alpha / jnp.where(sigma > 0, sigma, 1), 0)
    return prediction._replace(x0=x0, noise=prediction.noise - ratio * (x0 - prediction.x0))


def with_score(
    process: Process,
    predict: Callable[[Data, Time], tuple[Prediction, Data]],
    x: Data,
    t: Time,
) -> Prediction:
    """Adds a gradient of log p(x_t) to the score -noise/sigma; x0 and noise still give x_t.

    `predict(x, t)` returns a prediction and the gradient. x0 changes by sigma²/alpha·gradient.

    Where alpha = 0, x_t says nothing about x0 and the gradient is zero, but the change of x0 has a
    limit: the gradient's slope in alpha. A difference to the time of log-SNR log(ε) gives it, with
    an error of √ε. A network's gradient at alpha = 0 is not quite zero; the difference leaves that
    out, and a division by a small alpha would multiply it.
    """
    prediction, gradient = predict(x, t)
    alpha, sigma = process.at(t, x)
    pure = alpha == 0
    change = sigma**2 / jnp.where(pure, 1, alpha) * gradient

    def limit():
        near = jnp.where(process.schedule.alpha(t) == 0, _least_informed(process, t), t)
        alpha, sigma = process.at(near, x)
        return jnp.where(pure, sigma**2 / alpha * (predict(x, near)[1] - gradient), change)

    change = jax.lax.cond(pure.any(), limit, lambda: change)
    noise = prediction.noise - jnp.where(pure, 0, sigma * gradient)
    return prediction._replace(x0=prediction.x0 + change, noise=noise)


def _least_informed(process: Process, t: Time) -> Time:
    """Returns the time of log-SNR log(ε), or the last time before 1 if that is earlier."""
    numbers = jnp.finfo(t.dtype)
    logsnr = jnp.full_like(t, np.log(numbers.eps))
    return jnp.minimum(process.time(logsnr), 1 - numbers.epsneg)


def dot(a: Data, b: Data) -> Float[Array, "b *ones"]:
    """Returns each example's inner product, shaped to broadcast."""
    return jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)
