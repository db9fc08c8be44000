"""Functions of conditions: read, dropped, and filled."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxdiff.typing import Cond, Condition


def conditions(cond: Cond) -> dict[str, Condition]:
    """Returns all conditions as `Condition`; a bare array becomes the value of one."""
    wrap = lambda c: c if isinstance(c, Condition) else Condition(c)
    return {name: jax.tree.map(jnp.asarray, wrap(value)) for name, value in cond.items()}


def drop(cond: Cond, names: Sequence[str] | None = None) -> dict[str, Condition]:
    """Returns the conditions with those of `names`, by default all, dropped in every example."""
    dropped = {}
    for name, condition in conditions(cond).items():
        keep = keep_of(condition)
        chosen = names is None or name in names
        dropped[name] = replace(condition, keep=jnp.zeros_like(keep) if chosen else keep)
    return dropped


def keep_of(condition: Condition) -> Bool[Array, " b"]:
    """Returns True for examples that keep the condition."""
    return jnp.ones(len(condition.value), bool) if condition.keep is None else condition.keep


def choose(condition: Condition, value: Array, null: Array) -> Array:
    """Returns `value` [b, ...] for examples that keep the condition, and `null` for the others."""
    if condition.keep is None:
        return value
    return jnp.where(jnp.expand_dims(condition.keep, range(1, value.ndim)), value, null)


def fill(cond: Cond, empty: Cond, batch: int) -> dict[str, Condition]:
    """Returns the conditions with those of `empty` in place of dropped and absent ones, all kept.

    For networks without null embeddings: `empty` holds the encoding of the empty prompt, with a
    leading axis of `batch` or of 1.

    Raises:
        ValueError: a condition and its replacement have different arrays or shapes.
    """
    filled = conditions(cond)
    for name, null in conditions(empty).items():
        repeated = lambda a: jnp.broadcast_to(a, (batch, *a.shape[1:]))
        whole: Condition = jax.tree.map(repeated, null)
        given = filled.get(name, whole)
        if given.mask is None and whole.mask is not None:
            given = replace(given, mask=jnp.ones(given.value.shape[:2], bool))
        bare = replace(given, keep=None)
        if _shapes(bare) != _shapes(whole):
            raise ValueError(
                f"cond[{name!r}] has shapes {_shapes(bare)}, but its replacement {_shapes(whole)}"
            )
        filled[name] = jax.tree.map(lambda a, n, given=given: choose(given, a, n), bare, whole)
    return filled


def _shapes(condition: Condition) -> dict[str, Any]:
    parts = {"value": condition.value, "mask": condition.mask, "pooled": condition.pooled}
    return {name: part.shape for name, part in parts.items() if part is not None}
