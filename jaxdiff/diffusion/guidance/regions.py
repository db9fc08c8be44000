"""Regions: several conditions at once, each where its mask is (Bar-Tal et al. 2023, eq. 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.condition import drop
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Prediction, Time


@pytree(data=("conditions", "weights"))
@dataclass(frozen=True, eq=False)
class Regional:
    """(Σ w_i·p_i + (1 - Σ w_i)⁺·p) / max(1, Σ w_i), p_i under the i-th condition, p of the call.

    A condition acts where its weight is, several share a place by their weights, and that of the
    call has what they leave. x0 and noise are averaged alike: both still give x_t. All predictions
    are made by one call.

    Attributes:
        conditions: for each region those that it has in place of the call's, for b examples.
        weights: of each region [b, h, w, 1], at the size of x; of clips for all frames.
    """

    conditions: Sequence[Cond]
    weights: Sequence[Float[Array, "b h w 1"]]

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the denoiser, for the same b examples."""

        def in_regions(x: Data, t: Time, cond: Cond) -> Prediction:
            anywhere = {name: each for own in self.conditions for name, each in own.items()}
            base = {**drop(anywhere), **drop(cond, ())}
            conds = [base, *({**base, **drop(own, ())} for own in self.conditions)]
            axes = range(1, 1 + x.ndim - 4)
            weights = [jnp.expand_dims(weight, axes) for weight in self.weights]
            rest = jnp.maximum(1 - sum(weights), 0)
            stacked = jax.tree.map(lambda *each: jnp.stack(each), *conds)
            found = jax.lax.map(lambda one: denoiser(x, t, one), stacked)
            each = [jax.tree.map(lambda a, i=i: a[i], found) for i in range(len(conds))]
            return weighted_mean(each, [rest, *weights])

        return in_regions


def weighted_mean(
    predictions: Sequence[Prediction], weights: Sequence[Float[Array, "b *_ h w 1"]]
) -> Prediction:
    """Returns the mean of x0 and of noise by weights of each pixel; of one, that itself.

    Where no weight is, both are 0. A learned variance is not averaged.
    """
    if len(predictions) == 1:
        return predictions[0]._replace(variance=None)
    total = jnp.maximum(sum(weights), 1e-9)
    mean = lambda values: sum(w * v for w, v in zip(weights, values, strict=True)) / total
    return Prediction(mean([p.x0 for p in predictions]), mean([p.noise for p in predictions]))


def fitted_mask(mask: Any, shape: Sequence[int]) -> Float[Array, "b h w 1"]:
    """Returns masks [m, h2, w2] of pixels for latents [b, ..., h, w, c], in turn for each."""
    mask = jnp.asarray(mask, jnp.float32)
    size = (len(mask), *shape[-3:-1])
    mask = jax.image.resize(mask, size, "bilinear", antialias=False)
    repeats = -(-shape[0] // len(mask))
    return jnp.concatenate([mask] * repeats)[: shape[0], ..., None]
