"""The places of an adapter's modules in a tree of weights, by the tables of public keys."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.pretrained.convert import Pair, names, not_floating, pairs, split_layers
from jaxdiff.pretrained.lora.changes import Change, apply, merged, merged_bias
from jaxdiff.pretrained.lora.files import Module
from jaxdiff.pretrained.rules import Table
from jaxdiff.typing import Params

MISSHAPEN = (ValueError, TypeError, KeyError, IndexError, ZeroDivisionError)
"""What the arithmetic of factors raises where one is missing or of another shape."""


class Place(NamedTuple):
    """A key of a checkpoint: the arrays of ours that it holds, and which part of them."""

    pair: Pair
    part: int


def adapted(table: Table, params: Params, changes: Sequence[Change], weight: Any) -> Params:
    """Returns a tree with `weight` times the changes, in its types; a function of trees."""
    leaves = names(params)
    parts, homes = split_layers(table, leaves)
    changed = dict(leaves)
    order = {layer: int(layer.split("[")[1].split("]")[0]) for layer in homes}
    for name, value in apply(parts, changes, weight).items():
        if name in homes:
            changed[homes[name]] = changed[homes[name]].at[order[name]].set(value)
        else:
            changed[name] = value
    return jax.tree.unflatten(jax.tree.structure(params), [changed[name] for name in leaves])


def places(table: Table, params: Params) -> dict[str, Place]:
    """Returns the place of each key of a checkpoint, its dots and underscores alike."""
    leaves, _ = split_layers(table, names(params))
    return {
        plain(key): Place(pair, i)
        for pair in pairs(table, leaves)
        for i, key in enumerate(pair.theirs)
    }


def plain(key: str) -> str:
    """Returns a key as kohya writes it, with underscores for dots."""
    return key.replace(".", "_")


def changes_of(
    modules: Iterable[Module],
    tables: Sequence[Table],
    params: Params,
    alphas: Mapping[str, float],
    source: str,
) -> tuple[list[Change], list[str]]:
    """Returns the changes of a tree, and the names of modules that have no place in it.

    Args:
        modules: of this tree.
        tables: of the ways in which its arrays are named, which are tried in order.
        params: the tree, or its shapes.
        alphas: of modules whose factors do not hold one.
        source: the file, for errors.

    Raises:
        ValueError: the factors of a module do not make its shape, or are no floating-point numbers.
    """
    changes, unused = [], []
    leaves, _ = split_layers(tables[0], names(params))
    known = [places(table, params) for table in tables]
    for module in modules:
        read = lambda tensor: jnp.asarray(np.asarray(tensor), jnp.float32)
        for role, tensor in module.factors.items():
            if (kind := not_floating(tensor)) and role != "alpha":
                raise ValueError(
                    f"{source}: {module.name} has {role} stored as {kind}, not as floating-point"
                    " numbers"
                )
        factors = {role: read(tensor) for role, tensor in module.factors.items()}
        if "alpha" not in factors and module.name in alphas:
            factors["alpha"] = jnp.float32(alphas[module.name])
        kinds = [("_weight", False)] if set(factors) - {"diff_b", "alpha"} else []
        kinds += [("_bias", True)] if "diff_b" in factors else []
        if not kinds:  # an alpha alone
            unused.append(module.name)
        for suffix, bias in kinds:
            name = plain(module.name) + suffix
            place = next((each[name] for each in known if name in each), None)
            if place is None:
                unused.append(module.name)
                continue
            pair, part = place
            count = 1 if pair.rule.tied else len(pair.theirs)
            change = Change(pair.ours, pair.rule, part, count, bias, factors)
            _check(change, leaves, module, source)
            changes.append(change)
    return changes, unused


def _check(change: Change, leaves: Mapping[str, Any], module: Module, source: str) -> None:
    theirs = [jax.eval_shape(change.rule.layout.to_theirs, leaves[name]) for name in change.ours]
    rows = sum(piece.shape[0] for piece in theirs) // change.parts
    shape = (rows, *theirs[0].shape[1:])
    base, merge = jax.ShapeDtypeStruct(shape, jnp.float32), merged_bias if change.bias else merged
    try:
        jax.eval_shape(lambda base, f: merge(base, f, 1.0), base, change.factors)
    except MISSHAPEN as error:
        shapes = {role: list(value.shape) for role, value in change.factors.items()}
        raise ValueError(
            f"{source}: {module.name} has factors {shapes}, which do not make a change of a weight"
            f" {list(shape)}: {str(error).partition(chr(10))[0]}"
        ) from None
