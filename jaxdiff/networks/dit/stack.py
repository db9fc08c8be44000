"""Many blocks, one program: a scan over layers whose parameters lie along a leading axis."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

REMAT = ("nothing_saveable", "dots_saveable", "dots_with_no_batch_dims_saveable")


def stacked(block: type[nn.Module], depth: int, remat: str | None, unroll: int) -> Any:
    """Returns a class like `block` that is `depth` of them, called `(carry, told)`.

    Each is called as `block(carry, layer, told)`, and returns `(carry, None)`. With `remat`, a
    policy of `jax.checkpoint_policies`, the gradient computes again what the policy does not save.
    `unroll` layers are compiled one after the other, which is faster on a CPU, and longer to
    compile.

    Raises:
        ValueError: there is no such policy, or no layer.
    """
    if depth < 1:
        raise ValueError(f"depth={depth}: at least one block")
    if remat is not None:
        if remat not in REMAT:
            raise ValueError(f"remat={remat!r} must be None or one of {', '.join(REMAT)}")
        policy = getattr(jax.checkpoint_policies, remat)
        block = nn.remat(block, policy=policy, prevent_cse=False)
    scanned = nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=(0, nn.broadcast),
        length=depth,
        unroll=min(unroll, depth),
    )

    def make(*args: Any, **options: Any) -> Any:
        blocks = scanned(*args, **options)
        return lambda carry, told: blocks(carry, jnp.arange(depth), told)[0]

    return make
