"""Functions of conditions: read, dropped, and filled in where they are dropped or absent."""

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxdiff.typing import Cond, Condition


def conditions(cond: Cond) -> dict[str, Condition]:
    """Returns all conditions as `Condition`; a bare array is its own only field."""
    wrap = lambda n, c: c if isinstance(c, Condition) else Condition({n: jnp.asarray(c)})
    return {name: wrap(name, value) for name, value in cond.items()}


def fields(cond: Cond) -> tuple[dict[str, Array], dict[str, Bool[Array, " b"]]]:
    """Returns the fields of all conditions by name, and for those that may be dropped, `keep`."""
    values, keep = {}, {}
    for condition in conditions(cond).values():
        values |= condition.fields
        if condition.keep is not None:
            keep |= dict.fromkeys(condition.fields, condition.keep)
    return values, keep


def drop(cond: Cond, names: Sequence[str] | None = None) -> dict[str, Condition]:
    """Returns the same conditions, those of the names (all by default) dropped everywhere."""
    dropped = {}
    for name, condition in conditions(cond).items():
        keep = keep_of(condition)
        chosen = names is None or name in names
        dropped[name] = replace(condition, keep=jnp.zeros_like(keep) if chosen else keep)
    return dropped


def keep_of(condition: Condition) -> Bool[Array, " b"]:
    """Returns for which examples a condition is kept."""
    batch = len(next(iter(condition.fields.values())))
    return jnp.ones(batch, bool) if condition.keep is None else condition.keep


def fill(cond: Cond, empty: Cond, batch: int) -> dict[str, Condition]:
    """Returns `cond` with `empty` where a condition is dropped or absent, and all of them kept.

    For networks without learned null embeddings: `empty` holds the encoding of the empty prompt,
    with a leading axis of `batch` or of 1.

    Raises:
        ValueError: a field and the one that fills it have different shapes.
    """
    filled = conditions(cond)
    for name, nothing in conditions(empty).items():
        nulls = {f: jnp.broadcast_to(a, (batch, *a.shape[1:])) for f, a in nothing.fields.items()}
        given = filled.get(name, Condition(nulls))
        for field, value in given.fields.items():
            if field in nulls and value.shape != nulls[field].shape:
                raise ValueError(
                    f"cond[{field!r}] has shape {value.shape}, but its filling {nulls[field].shape}"
                )
        keep = keep_of(given)
        filled[name] = Condition(
            {f: jnp.where(along(keep, null), given.fields[f], null) for f, null in nulls.items()}
        )
    return filled


def along(mask: Bool[Array, " b"], value: Array) -> Array:
    """Returns a mask [b] with axes appended until it broadcasts against a value."""
    return mask.reshape(mask.shape + (1,) * (value.ndim - mask.ndim))
