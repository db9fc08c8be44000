"""Conditions that change on the way from noise to data, and those that guidance does not drop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.condition import conditions
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Denoiser, Prediction


@pytree(data=("denoiser", "later"))
@dataclass(frozen=True)
class Phased:
    """A denoiser that reads other conditions from some time on.

    `later` has pairs of times [b] and conditions, in the order in which they come: at times up to
    these, the conditions stand in place of the ones before.
    """

    denoiser: Denoiser
    later: Sequence[tuple[Float[Array, " b"], Cond]]

    def __call__(self, x: Array, t: Array, cond: Cond) -> Prediction:
        """Returns the prediction under the conditions of the time."""
        chosen = conditions(cond)
        for since, other in self.later:
            now = jnp.broadcast_to(t, since.shape) <= since
            choose = lambda new, old, now=now: jnp.where(
                jnp.expand_dims(now, range(1, new.ndim)), new, old
            )
            chosen |= jax.tree.map(choose, conditions(other), {n: chosen[n] for n in other})
        return self.denoiser(x, t, chosen)


def phased(denoiser: Denoiser, later: Sequence[tuple[Any, Cond]]) -> Denoiser:
    """Returns the denoiser that reads other conditions from some times on."""
    return Phased(denoiser, tuple(later)) if later else denoiser


@pytree(data=("denoiser", "always"))
@dataclass(frozen=True)
class Kept:
    """A denoiser that reads some conditions always, as the masked picture of inpainting."""

    denoiser: Denoiser
    always: Mapping[str, Float[Array, "n *shape"]]

    def __call__(self, x: Array, t: Array, cond: Cond) -> Prediction:
        """Returns the prediction; guidance may ask about the examples several times at once."""
        repeat = lambda a: jnp.concatenate([a] * (len(x) // len(a)))
        return self.denoiser(x, t, {**cond, **jax.tree.map(repeat, dict(self.always))})


def kept(denoiser: Denoiser, always: Mapping[str, Any]) -> Denoiser:
    """Returns the denoiser that reads some conditions always; `always` has one for each example."""
    return Kept(denoiser, always) if always else denoiser


def since(num: int, share: float, times: Any) -> Float[np.ndarray, " n"]:
    """Returns, for each of `num` samples, the time of the first step after a share of the steps."""
    steps = len(times) - 1
    return np.full(num, times[int(np.ceil(share * steps))], np.float32)
