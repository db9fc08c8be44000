"""Multistep methods: their memory of earlier evaluations, and its weights."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxdiff.diffusion.process import expand

POINTS, POINT_WEIGHTS = np.polynomial.legendre.leggauss(12)


class Memory(NamedTuple):
    """The newest evaluations, newest first: values, and the times at which they were taken."""

    values: Float[Array, "k b *shape"]
    times: Float[Array, "k b"]

    def push(self, value: Float[Array, "b *shape"], t: Float[Array, " b"]) -> "Memory":
        """Returns the memory with a new evaluation in place of the oldest."""
        return Memory(
            jnp.concatenate([value[None], self.values[:-1]]),
            jnp.concatenate([t[None], self.times[:-1]]),
        )


def empty(size: int, x: Float[Array, "b *shape"]) -> Memory:
    """Returns a memory for `size` evaluations, none of them taken yet: their times are NaN."""
    return Memory(jnp.zeros((size, *x.shape), x.dtype), jnp.full((size, len(x)), jnp.nan, x.dtype))


def begin(self: Any, x: Float[Array, "b *shape"]) -> Memory:
    """The `init` of a solver with an attribute `order`: an empty memory of this size."""
    return empty(self.order, x)


def weights(
    nodes: Float[Array, "k b"],
    usable: Bool[Array, "k b"],
    start: Float[Array, " b"],
    end: Float[Array, " b"],
    rate: Float[Array, " b"] | float,
) -> Float[Array, "k b"]:
    """Weights v_i of ∫ f·e^(rate·u) du / ∫ e^(rate·u) du, for the polynomial through the nodes.

    v_i is the integral of the i-th Lagrange polynomial over the usable nodes, by Gauss's rule with
    12 points; the weights of the others are zero. With rate 0 these are Adams's methods on uneven
    steps. Where start or end is not finite, all weight lies on the first node.
    """
    finite = jnp.isfinite(start) & jnp.isfinite(end)
    start, end = jnp.where(finite, start, 0), jnp.where(finite, end, 1)
    usable = usable & jnp.isfinite(nodes) & finite
    nodes = jnp.where(usable, nodes, 0)
    dtype = nodes.dtype
    share = jnp.asarray((1 + POINTS) / 2, dtype)[:, None]
    u = start + share * (end - start)
    # The exponent is taken relative to its larger end, so that it cannot overflow.
    exponent = rate * (u - start)
    exponent -= jnp.maximum(0, rate * (end - start))
    density = jnp.asarray(POINT_WEIGHTS, dtype)[:, None] * jnp.exp(exponent)
    density /= density.sum(0)

    def weight(i):
        basis = jnp.ones_like(u)
        for j in range(len(nodes)):
            if j != i:
                both = usable[i] & usable[j]
                gap = jnp.where(both, nodes[i] - nodes[j], 1)
                basis *= jnp.where(usable[j], (u - nodes[j]) / gap, 1)
        return jnp.where(usable[i], (density * basis).sum(0), 0)

    found = jnp.stack([weight(i) for i in range(len(nodes))])
    first = jnp.zeros_like(found).at[0].set(1)
    return jnp.where(finite, found, first)


def combine(weights: Float[Array, "k b"], values: Float[Array, "k b *shape"]) -> Array:
    """Returns Σ v_i·f_i; values without weight may be NaN."""
    terms = expand(weights, values) * values
    return jnp.where(expand(weights, values) == 0, 0, terms).sum(0)
