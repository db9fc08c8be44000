"""Players: several losses in one step, each of which trains other weights.

A training step sums the losses of all players and differentiates once. So that no gradient leaks
from one player into the weights of another, a loss reads the others' weights through `fixed`;
`check_players` finds a loss that does not, when the experiment is built.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.typing import Params

Weights = Mapping[str, Params]
Tree = TypeVar("Tree")


def fixed(tree: Tree) -> Tree:
    """Returns weights, or a denoiser bound to them, through which no gradient flows."""
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if _is_float(leaf) else leaf, tree)


def adaptive_weight(
    loss: Callable[[Array], Array],
    other: Callable[[Array], Array],
    at: Array,
    pull: Callable[[Array], Array] = lambda gradient: gradient,
    axis: str | None = None,
) -> Float[Array, ""]:
    """Returns ‖∇loss‖/‖∇other‖, as a constant.

    Gradients are with regard to an array `at`; or with `pull`, which takes a gradient with regard
    to the output `at` to one with regard to weights. With those of the last layer, this is the
    factor that balances a reconstruction and an adversarial loss (Esser et al. 2021, eq. 7). Under
    pmap, `axis` names the mapped axis, over which gradients are averaged.
    """

    def norm(function: Callable[[Array], Array]) -> Array:
        gradient = pull(jax.grad(function)(jax.lax.stop_gradient(at)))
        gradient = gradient if axis is None else jax.lax.pmean(gradient, axis)
        return jnp.linalg.norm(gradient.ravel())

    return jax.lax.stop_gradient(norm(loss) / (norm(other) + 1e-6))


def check_players(
    players: Mapping[str, Sequence[str]],
    losses: Callable[..., Mapping[str, Array]],
    trained: Weights,
    *given: Any,
) -> None:
    """Checks that the loss of each player has no gradient with regard to other players' weights.

    `losses(trained, *given)` returns the loss of each player; arguments may be shapes.

    Raises:
        ValueError: a player is unknown, weights have no player or several, or a gradient leaks.
    """
    owners = {name: [p for p, owned in players.items() if name in owned] for name in trained}
    if wrong := {name: who for name, who in owners.items() if len(who) != 1}:
        raise ValueError(f"players={dict(players)}: each trained weight needs one player: {wrong}")
    if len(players) == 1:
        return
    if set(shapes := jax.eval_shape(losses, trained, *given)) != set(players):
        raise ValueError(f"losses of {sorted(shapes)}, but players={dict(players)}")
    names = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(trained)]
    for player in players:
        loss = lambda *arguments, player=player: losses(*arguments)[player].mean()
        jaxpr = jax.make_jaxpr(jax.grad(loss))(trained, *given).jaxpr
        leaking = {
            name
            for name, gradient in zip(names, jaxpr.outvars, strict=True)
            if owners[name] != [player] and not _is_zero(jaxpr, gradient)
        }
        if leaking:
            raise ValueError(
                f"the loss of player {player!r} has a gradient with regard to {sorted(leaking)}, "
                f"which {owners[min(leaking)][0]!r} trains: read these weights through `fixed`"
            )


def _is_float(leaf):
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _is_zero(jaxpr, var):
    """Whether a variable is a broadcast of the literal zero: no gradient was traced into it."""
    if hasattr(var, "val"):
        return not np.any(var.val)
    for equation in jaxpr.eqns:
        if var in equation.outvars:
            passes = equation.primitive.name in ("broadcast_in_dim", "convert_element_type", "copy")
            return passes and _is_zero(jaxpr, equation.invars[0])
    return False
