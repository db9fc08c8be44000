"""Parameter trees from tensors by name, and back, by a table."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdiff.interop.layouts import divide, join
from jaxdiff.interop.rules import Rule, Table, compiled
from jaxdiff.typing import Params

SHOWN = 5
"""How many names of each kind an error message lists."""


class Pair(NamedTuple):
    """Names of ours and keys of theirs that hold the same numbers."""

    rule: Rule
    ours: tuple[str, ...]
    theirs: tuple[str, ...]


def names(params: Params) -> dict[str, Any]:
    """Returns the leaves of a tree by name, such as "layer_0/query/kernel"."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def pairs(table: Table, ours: Iterable[str]) -> list[Pair]:
    """Applies the first rule that matches to each of our names.

    Raises:
        ValueError: a name that no rule matches, a part missing of what is fused, two names for one
            key.
    """
    ours = list(ours)
    found, unknown, in_conflict, home = {}, [], [], {}
    for name in ours:
        match = _first(table, name)
        if match is None:
            unknown.append(name)
            continue
        entry, numbers = match
        here = _fill(entry.ours, numbers) if entry.theirs else (name,)
        found[here] = Pair(entry, here, _fill(entry.theirs, numbers))
    for pair in found.values():
        first = pair.ours[0]
        in_conflict += [
            f"{name} is missing beside {first}" for name in sorted({*pair.ours} - {*ours})
        ]
        in_conflict += [
            f"{key} is both {home[key]} and {first}" for key in {*pair.theirs} & {*home}
        ]
        home |= dict.fromkeys(pair.theirs, first)
    if unknown or in_conflict:
        raise ValueError(
            "the table does not fit our parameters:"
            + _listed("not in the table", unknown)
            + _listed("in conflict", in_conflict)
        )
    return list(found.values())


def to_theirs(table: Table, params: Params) -> dict[str, Any]:
    """Returns our parameters under the peer's keys and in its layout; works under `jit` too.

    Raises:
        ValueError: a name of ours that no rule matches, or two that are one key.
    """
    leaves, out = names(params), {}
    for pair in pairs(table, leaves):
        if pair.theirs:
            whole = join([pair.rule.layout.to_theirs(leaves[name]) for name in pair.ours])
            if _outputs(whole) % len(pair.theirs):
                raise ValueError(
                    f"{pair.ours[0]}: {whole.shape[0]} outputs do not divide into equal parts for"
                    f" {', '.join(pair.theirs)}"
                )
            size = _outputs(whole) // len(pair.theirs)
            out.update(zip(pair.theirs, divide(whole, [size] * len(pair.theirs)), strict=True))
    return out


def to_ours(
    table: Table, tensors: Mapping[str, Any], target: Params, *, source: str = "the checkpoint"
) -> Params:
    """Returns the peer's tensors as a tree like `target`, whose types and shardings they take.

    `target` is a tree of arrays or of shapes (`jax.eval_shape`). `tensors` may be anything that
    has a shape and becomes an array by `numpy.asarray`; all names and shapes are compared first,
    then one tensor at a time is read.

    Raises:
        ValueError: keys that are missing, of another shape or in no rule, with `source`; names of
            ours that are in no rule.
    """
    leaves = names(target)
    found = pairs(table, leaves)
    _check(table, tensors, target, found, source)
    ours = {}
    for pair in found:
        if not pair.theirs:
            ours[pair.ours[0]] = leaves[pair.ours[0]]
            continue
        layout = pair.rule.layout
        whole = join([np.asarray(tensors[key]) for key in pair.theirs])
        sizes = [_outputs(jax.eval_shape(layout.to_theirs, leaves[name])) for name in pair.ours]
        for name, part in zip(pair.ours, divide(whole, sizes), strict=True):
            leaf = leaves[name]
            value = layout.to_ours(part, leaf.shape).astype(leaf.dtype)
            ours[name] = jax.device_put(value, getattr(leaf, "sharding", None))
    return jax.tree.unflatten(jax.tree.structure(target), [ours[name] for name in leaves])


def _check(table, tensors, target, found, source):
    """Compares names and shapes, of which there is no need to read the tensors."""
    home = {key: pair.ours[0] for pair in found for key in pair.theirs}
    expected = jax.eval_shape(lambda tree: to_theirs(table, tree), target)
    ignored = [pattern for entry in table if not entry.ours for pattern in entry.theirs]
    missing = [f"{key} (our {home[key]})" for key in expected if key not in tensors]
    unused = [
        f"{key} {list(tensors[key].shape)}"
        for key in tensors
        if key not in expected and not any(compiled(p).fullmatch(key) for p in ignored)
    ]
    other = [
        f"{key} is {list(tensors[key].shape)}, not {list(value.shape)} (our {home[key]})"
        for key, value in expected.items()
        if key in tensors and tuple(tensors[key].shape) != value.shape
    ]
    abstract = [
        pair.ours[0]
        for pair in found
        if not pair.theirs and isinstance(names(target)[pair.ours[0]], jax.ShapeDtypeStruct)
    ]
    if missing or unused or other or abstract:
        raise ValueError(
            f"{source} does not fit the network:"
            + _listed("missing from it", missing)
            + _listed("of another shape", other)
            + _listed("without a place in the network", unused)
            + _listed("ours alone, so that the target must hold arrays there", abstract)
        )


def _outputs(x: Any) -> int:
    return x.shape[0] if x.shape else 1


def _first(table: Table, name: str) -> tuple[Rule, dict[str, str]] | None:
    for entry in table:
        for pattern in entry.ours:
            if match := compiled(pattern).fullmatch(name):
                return entry, match.groupdict()
    return None


def _fill(patterns: tuple[str, ...], numbers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(pattern.format(**numbers) for pattern in patterns)


def _listed(what: str, entries: list[str]) -> str:
    if not entries:
        return ""
    more = f"; and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return f"\n  {len(entries)} {what}: {'; '.join(entries[:SHOWN])}{more}"
