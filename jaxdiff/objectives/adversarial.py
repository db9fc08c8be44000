"""Adversarial losses: a generator against a critic that tells its samples from data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

Scores = Float[Array, " b"]
"""The critic's output: high for data."""


def generator_loss(fake: Scores) -> Scores:
    """Returns -log sigmoid(D(G(z))), which does not saturate (Goodfellow et al. 2014, 3)."""
    return jax.nn.softplus(-fake)


def critic_loss(real: Scores, fake: Scores) -> Scores:
    """Returns -log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))) (Goodfellow et al. 2014, eq. 1)."""
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def hinge_critic_loss(real: Scores, fake: Scores) -> Scores:
    """Returns max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017, eq. 8)."""
    return jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)


def gradient_penalty(
    critic: Callable[[Array], Scores], x: Float[Array, "b *shape"]
) -> Float[Array, " b"]:
    """Returns ½‖∇D(x)‖² of each example, the R1 penalty (Mescheder et al. 2018, eq. 9)."""
    gradient = jax.grad(lambda x: critic(x).sum())(x)
    return 0.5 * reduce(jnp.square(gradient), "b ... -> b", "sum")
