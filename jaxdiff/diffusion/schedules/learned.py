"""A schedule that is learned together with the network."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff import options
from jaxdiff.options import Width
from jaxdiff.trees import pytree


@pytree()
@dataclass(frozen=True)
class Learned:
    """Variance-preserving, its log-SNR falling along a learned monotone curve (VDM).

    logSNR(t) = highest + (lowest - highest)·m(t), where m is a convex combination of `features`
    fixed sigmoids of t that rise from 0 to 1, at even places: monotone by its form, as the network
    with positive weights of Kingma et al. (2021, appendix H). `highest` and `lowest` are the ends
    at the start of training; there is noise at t = 0 too, which a decoder has to remove.

    Made for `objectives.VariationalBound`. The bound depends on the ends, which get its gradient,
    and not on the shape between them, which gets a gradient by `logsnr_of_shape` only.

    Raises:
        ValueError: the ends are in the wrong order, or there are no features.
    """

    highest: float = 13.3
    lowest: float = -5.0
    features: Width = 32
    params: options.Learned = None

    def __post_init__(self):
        if not self.lowest < self.highest:
            raise ValueError(f"Learned: lowest={self.lowest} is not below highest={self.highest}")

    def init(self) -> dict[str, Array]:
        """Returns the parameters of a log-SNR that is nearly linear in t."""
        ends = jnp.array([self.highest, self.lowest])
        return {"ends": ends, "shape": jnp.zeros(self.features)}

    def bind(self, params: Any) -> "Learned":
        """Returns the schedule with these parameters."""
        return replace(self, params=params)

    def logsnr(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns the log-SNR, strictly falling in t; its gradient is that of the ends."""
        ends, shape = self._ends_and_shape()
        return _logsnr(ends, jax.lax.stop_gradient(shape), t)

    def logsnr_of_shape(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns the same log-SNR; its gradient is that of the shape."""
        ends, shape = self._ends_and_shape()
        return _logsnr(jax.lax.stop_gradient(ends), shape, t)

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√sigmoid(logSNR)."""
        return jnp.sqrt(jax.nn.sigmoid(self.logsnr(t)))

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """√sigmoid(-logSNR)."""
        return jnp.sqrt(jax.nn.sigmoid(-self.logsnr(t)))

    def _ends_and_shape(self):
        params = self.init() if self.params is None else self.params
        return params["ends"], params["shape"]


def _logsnr(ends, shape, t):
    highest, lowest = ends.astype(t.dtype)
    share = jax.nn.softmax(shape.astype(t.dtype))
    return highest + (lowest - highest) * (_rising(len(shape), t) @ share)


def _rising(features, t):
    """Returns sigmoids [..., features], as steep as their places are near, from 0 to 1 each."""
    centres = (np.arange(features) + 0.5) / features
    sigmoid = lambda z: 1 / (1 + np.exp(-z))
    start, end = (sigmoid(features * (at - centres)) for at in (0, 1))
    value = jax.nn.sigmoid(features * (t[..., None] - centres.astype(t.dtype)))
    return (value - start.astype(t.dtype)) / (end - start).astype(t.dtype)
