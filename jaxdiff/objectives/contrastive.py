"""Contrastive losses: the two views of an example find each other among all of a batch.

Views are embedded in vectors of unit length. Under pmap, `axis` names the mapped axis, over which
all examples are gathered.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def info_nce(
    a: Float[Array, "b d"],
    b: Float[Array, "b d"],
    scale: Float[Array, ""],
    axis: str | None = None,
) -> Float[Array, " b"]:
    """Returns the mean cross-entropy of a's view among all b, and of b's among all a.

    Products of unit vectors are multiplied by `scale` (CLIP: Radford et al. 2021, figure 3; van den
    Oord et al. 2018, eq. 4).
    """
    a, b = unit(a), unit(b)

    def cross_entropy(of, among):
        log_shares = jax.nn.log_softmax(scale * of @ _all(among, axis).T)
        return -jnp.take_along_axis(log_shares, _own(of, axis)[:, None], axis=-1)[:, 0]

    return (cross_entropy(a, b) + cross_entropy(b, a)) / 2


def sigmoid_pairs(
    a: Float[Array, "b d"],
    b: Float[Array, "b d"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    axis: str | None = None,
) -> Float[Array, " b"]:
    """Returns -sum_j log sigmoid(±(scale·a·b_j + bias)) for each a: + for its own b, - for others.

    Every pair is a decision of its own (SigLIP: Zhai et al. 2023, eq. 1).
    """
    logits = scale * unit(a) @ _all(unit(b), axis).T + bias
    mine = jax.nn.one_hot(_own(a, axis), logits.shape[1])
    return -jax.nn.log_sigmoid((2 * mine - 1) * logits).sum(-1)


def unit(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Returns vectors of unit length."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _all(x: Array, axis: str | None) -> Array:
    return x if axis is None else jax.lax.all_gather(x, axis, tiled=True)


def _own(x: Array, axis: str | None) -> Array:
    """Returns the places of these examples among all."""
    start = 0 if axis is None else jax.lax.axis_index(axis) * len(x)
    return start + jnp.arange(len(x))
