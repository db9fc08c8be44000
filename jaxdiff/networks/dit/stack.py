"""Many blocks, one program: a scan over layers whose parameters lie along a leading axis."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdiff.networks.attention import EDITS, MAPS
from jaxdiff.options import Depth, check
from jaxdiff.trees import stacked as stacked_trees

Remat = Literal["nothing_saveable", "dots_saveable", "dots_with_no_batch_dims_saveable"]


def stacked(
    block: type[nn.Module],
    depth: int,
    remat: str | None,
    unroll: int,
    *,
    each: bool = False,
    first: int = 0,
) -> Any:
    """Returns a class of `depth` blocks in a row, called as `(carry, inputs)`.

    Each block is called as `block(carry, layer, inputs)` and returns `(carry, None)`; with `each`,
    a second output in place of None, and the row returns the carry and these stacked. With `remat`,
    a policy of `jax.checkpoint_policies`, the gradient recomputes the values that the policy does
    not save. `unroll` layers are compiled one after another, which runs faster on a CPU and
    compiles longer. The layers are numbered from `first`.

    Raises:
        ValueError: the policy is unknown, or `depth` is below 1.
    """
    check("depth", Depth, depth)
    scanned = nn.scan(
        recomputed(block, remat, in_scan=True),
        variable_axes={"params": 0, "intermediates": 0, MAPS: 0},
        variable_broadcast=EDITS,
        split_rngs={"params": True},
        in_axes=(0, nn.broadcast),
        length=depth,
        unroll=min(unroll, depth),
    )

    def make(*args: Any, **options: Any) -> Any:
        blocks = scanned(*args, **options)
        run = lambda carry, inputs: blocks(carry, first + jnp.arange(depth), inputs)
        return run if each else lambda carry, inputs: run(carry, inputs)[0]

    return make


def in_turn(
    module: nn.Module,
    names: Sequence[str],
    block: Callable[[Any, str], Any],
    x: Any,
    unroll: int | None,
) -> Any:
    """Applies equal blocks one after another, each of which has parameters of its own by name.

    With `unroll` they are a scan of that many blocks a turn, over parameters that the program
    stacks: the program is smaller, and holds a copy of the parameters. They are created, their
    outputs and maps captured and their attention edited without the scan.
    """
    watched = module.is_initializing() or module.variables.get(EDITS)
    watched = watched or any(map(module.is_mutable_collection, ("intermediates", MAPS)))
    if unroll is None or len(names) <= unroll or watched:
        for name in names:
            x = block(x, name)
        return x

    def stack(variables: Any) -> Any:
        """Returns the parameters of all blocks as the first one's."""
        return {"params": {names[0]: stacked_trees([variables["params"][n] for n in names])}}

    scan = nn.scan(
        lambda module, x, _: (block(x, names[0]), None),
        variable_axes={"params": 0},
        length=len(names),
        unroll=unroll,
    )
    return nn.map_variables(scan, "params", stack)(module, x, None)[0]


def recomputed(block: type[nn.Module], remat: str | None, *, in_scan: bool = False) -> Any:
    """Returns a class whose gradient computes again what the policy `remat` does not save.

    Parameters keep their names. None returns the class itself.

    Raises:
        ValueError: the policy is unknown.
    """
    check("remat", Remat | None, remat)
    if remat is None:
        return block
    policy = getattr(jax.checkpoint_policies, remat)
    return nn.remat(block, policy=policy, prevent_cse=not in_scan)
