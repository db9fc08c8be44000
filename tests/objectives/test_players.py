"""Players: gradients that stay apart, updates at every n-th step, weights from a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdiff.objectives.adversarial import critic_loss, generator_loss, gradient_penalty
from jaxdiff.objectives.players import adaptive_weight, check_players, fixed
from jaxdiff.training.optimizer import make_optimizer

PLAYERS = {"generator": ("network",), "critic": ("discriminator",)}
WEIGHTS = {"network": {"w": jnp.array(2.0)}, "discriminator": {"w": jnp.array(3.0)}}


def losses(weights, *, leak):
    """A pair whose losses multiply each other's weights."""
    g, d = weights["network"]["w"], weights["discriminator"]["w"]
    seen = g if leak == "critic" else fixed(g)
    judge = d if leak == "generator" else fixed(d)
    return {"generator": (g * judge)[None], "critic": (d * seen**2)[None]}


def test_each_player_s_weights_follow_its_own_loss():
    """d(2·3)/dg = 3 and d(3·2²)/dd = 4; fails if the sum is differentiated through both."""
    total = lambda weights: sum(loss.mean() for loss in losses(weights, leak=None).values())
    gradient = jax.grad(total)(WEIGHTS)
    assert float(gradient["network"]["w"]) == 3.0
    assert float(gradient["discriminator"]["w"]) == 4.0
    check_players(PLAYERS, lambda weights: losses(weights, leak=None), WEIGHTS)


@pytest.mark.parametrize(("player", "of"), [("generator", "discriminator"), ("critic", "network")])
def test_a_leaking_gradient_is_named_before_training(player, of):
    """Fails if a loss that forgets `fixed` is trained."""
    with pytest.raises(ValueError, match=rf"player '{player}' .*\['{of}'\].*`fixed`"):
        check_players(PLAYERS, lambda weights: losses(weights, leak=player), WEIGHTS)


def test_weights_without_a_player_and_losses_without_weights_are_named():
    with pytest.raises(ValueError, match=r"one player: \{'discriminator': \[\]\}"):
        check_players({"generator": ("network",)}, lambda w: {}, WEIGHTS)
    alone = lambda weights: {"generator": weights["network"]["w"][None]}
    with pytest.raises(ValueError, match=r"losses of \['generator'\], but players="):
        check_players(PLAYERS, alone, WEIGHTS)


def test_players_have_optimizers_rates_and_cadences_of_their_own():
    """Fails if one optimizer sees the other's options, or a skipped update still moves moments."""
    config = {"name": "sgd", "learning_rate": 0.5, "schedule": "constant", "clip_norm": 0.0}
    slow = {"discriminator": {"learning_rate": 0.1, "every": 3, "momentum": 0.9}}
    optimizer, rates = make_optimizer(config, slow)
    assert {name: float(rate(0)) for name, rate in rates.items()} == pytest.approx(
        {"": 0.5, "discriminator": 0.1}
    )
    state, moves = optimizer.init(WEIGHTS), []
    for _ in range(4):
        ones, now = jax.tree.map(jnp.ones_like, WEIGHTS), {n: r(0) for n, r in rates.items()}
        updates, state = optimizer.update(ones, state, WEIGHTS, rates=now)
        moves.append([float(updates[name]["w"]) for name in WEIGHTS])
    expected = [[-0.5, -0.1], [-0.5, 0], [-0.5, 0], [-0.5, -0.19]]
    np.testing.assert_allclose(moves, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"optimizers\.discriminator\.every is 0"):
        make_optimizer(config, {"discriminator": {"every": 0}})


def test_an_adaptive_weight_is_the_ratio_of_gradients_and_has_none():
    """‖∇(3·x·x)‖/‖∇(2·sum x)‖ at x = (1, 2): 6·√5/(2·√2); fails if it is differentiated."""
    at = jnp.array([1.0, 2.0])
    ratio = lambda at: adaptive_weight(lambda x: 3 * (x**2).sum(), lambda x: 2 * x.sum(), at)
    assert float(ratio(at)) == pytest.approx(6 * 5**0.5 / (2 * 2**0.5), rel=1e-5)
    np.testing.assert_array_equal(jax.grad(ratio)(at), 0)


def test_adversarial_losses_at_the_equilibrium():
    """Where the critic cannot tell: log 2 and 2·log 2; and R1 of a linear critic is ½|w|²."""
    zero = jnp.zeros(3)
    np.testing.assert_allclose(generator_loss(zero), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(critic_loss(zero, zero), 2 * np.log(2), rtol=1e-6)
    w = jnp.array([3.0, 4.0])
    np.testing.assert_allclose(gradient_penalty(lambda x: x @ w, jnp.ones((5, 2))), 12.5, rtol=1e-6)
    best = optax.adam(0.1)  # the critic of two known Gaussians: log p/q is its optimum
    x = jnp.linspace(-3, 3, 4001)
    density = lambda m: jnp.exp(-0.5 * (x - m) ** 2)
    value = lambda a: (
        density(1.0) * critic_loss(a[0] * x + a[1], -jnp.inf * jnp.ones_like(x))
        + density(-1.0) * critic_loss(jnp.inf * jnp.ones_like(x), a[0] * x + a[1])
    ).mean()

    def step(carry, _):
        a, state = carry
        updates, state = best.update(jax.grad(value)(a), state)
        return (a + updates, state), None

    (a, _), _ = jax.lax.scan(step, (jnp.zeros(2), best.init(jnp.zeros(2))), length=800)
    np.testing.assert_allclose(a, [2.0, 0.0], atol=0.02)  # log N(x; 1)/N(x; -1) = 2x
