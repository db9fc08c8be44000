"""Contrastive losses: the two views of an example find each other among all of a batch."""

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

    `a` and `b` are normalised to unit length, their products multiplied by `scale` (Radford et al.
    2021, figure 3; van den Oord et al. 2018, eq. 4). Under pmap, `axis` names the mapped axis, over
    which all examples are gathered.
    """
    a, b = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    gather = lambda x: x if axis is None else jax.lax.all_gather(x, axis, tiled=True)
    start = 0 if axis is None else jax.lax.axis_index(axis) * len(a)
    own = start + jnp.arange(len(a))

    def cross_entropy(of, among):
        logits = scale * of @ gather(among).T
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), own[:, None], axis=-1)[:, 0]

    return (cross_entropy(a, b) + cross_entropy(b, a)) / 2
