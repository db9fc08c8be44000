"""Adversarial losses: a generator against a critic that tells its samples from data."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

from jaxdiff.typing import Cond, Critic, Data, Roles, Time

Scores = Float[Array, "b *n"]
"""The critic's output: high for data."""


def generator_loss(fake: Scores) -> Scores:
    """Returns -log sigmoid(D(G(z))), which does not saturate (Goodfellow et al. 2014, 3)."""
    return jax.nn.softplus(-fake)


def critic_loss(real: Scores, fake: Scores) -> Scores:
    """Returns -log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))) (Goodfellow et al. 2014, eq. 1)."""
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def hinge_generator_loss(fake: Scores) -> Scores:
    """Returns -D(G(z)) (Lim & Ye 2017, eq. 9)."""
    return -fake


def hinge_critic_loss(real: Scores, fake: Scores) -> Scores:
    """Returns max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017, eq. 8)."""
    return jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)


LOSSES = {
    "hinge": (hinge_generator_loss, hinge_critic_loss),
    "logistic": (generator_loss, critic_loss),
}
"""The generator's and the critic's loss by name."""


def critic_of(roles: Roles) -> Critic:
    """Returns the critic.

    Raises:
        ValueError: there is none.
    """
    if roles.critic is None:
        raise ValueError("the objective needs roles.critic, which tells samples from data")
    return roles.critic


def judged(critic: Critic, x: Data, t: Time, cond: Cond) -> Float[Array, "b n"]:
    """Returns a critic's scores of x_t."""
    return critic.scores(critic.features(x, t, cond))


def gradient_penalty(critic: Callable[[Any], Scores], x: Any) -> Float[Array, " b"]:
    """Returns ½‖∇D(x)‖² of each example, the R1 penalty (Mescheder et al. 2018, eq. 9).

    `x` is an array [b, ...], or a tree of features [b, ...].
    """
    gradient = jax.grad(lambda x: critic(x).sum())(x)
    squares = [reduce(jnp.square(g), "b ... -> b", "sum") for g in jax.tree.leaves(gradient)]
    return 0.5 * sum(squares[1:], squares[0])
