"""Parameter trees from tensors by name, and back, by a table."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.pretrained.layouts import divide, join
from jaxdiff.pretrained.rules import Rule, Table, compiled, filled
from jaxdiff.typing import Params

LAYER = "[{i}]"
"""Marks, in a table, a layer of stacked parameters."""

SHOWN = 5
"""How many names of each kind an error message lists."""


class Pair(NamedTuple):
    """Names in our tree and keys in a checkpoint that hold the same numbers."""

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
        ValueError: no rule matches a name; a part of a fused array is missing; two names have one
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
    """Returns parameters under the keys and in the layout of a checkpoint; works under `jit`.

    Raises:
        ValueError: no rule matches a name, or two names have one key.
    """
    leaves, _ = split_layers(table, names(params))
    out = {}
    for pair in pairs(table, leaves):
        if pair.theirs:
            parts = [pair.rule.layout.to_theirs(leaves[name]) for name in pair.ours]
            whole = join(parts, pair.rule.groups)
            if pair.rule.tied:
                out |= dict.fromkeys(pair.theirs, whole)
                continue
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
    """Returns the tensors of a checkpoint as a tree like `target`, in its types and shardings.

    `target` is a tree of arrays or of shapes (`jax.eval_shape`). `tensors` have a shape and are
    read by `numpy.asarray`, one at a time, after all names and shapes were compared. Those in files
    are cast and turned on the way from the file, so that the host has each once.

    Raises:
        ValueError: keys are missing, have another shape or are in no rule; no rule matches a name.
            The message names `source`.
    """
    leaves = names(target)
    parts, homes = split_layers(table, leaves)
    found = pairs(table, parts)
    _check(table, tensors, parts, found, source)
    ours, waiting = {}, {name: {} for name in homes.values()}

    def place(name: str, value: Any) -> None:
        leaf = leaves[name]
        # A copy: the device may take it over, and must not take over the file.
        whole = np.array(value, leaf.dtype, order="C")
        ours[name] = jax.device_put(whole, getattr(leaf, "sharding", None))

    for pair in found:
        if not pair.theirs:
            ours[pair.ours[0]] = leaves[pair.ours[0]]
            continue
        layout = pair.rule.layout
        keys = pair.theirs[:1] if pair.rule.tied else pair.theirs
        whole = join([_mapped(tensors[key]) for key in keys])
        sizes = [_outputs(jax.eval_shape(layout.to_theirs, parts[name])) for name in pair.ours]
        for name, part in zip(pair.ours, divide(whole, sizes, pair.rule.groups), strict=True):
            value = layout.to_ours(part, parts[name].shape)
            if name not in homes:
                place(name, value)
                continue
            # The layers of a stack become one array when the last one has been read.
            layers = waiting[homes[name]]
            layers[name] = value
            order = [layer for layer, home in homes.items() if home == homes[name]]
            if len(layers) == len(order):
                place(homes[name], np.stack([layers[layer] for layer in order]))
                layers.clear()
    return jax.tree.unflatten(jax.tree.structure(target), [ours[name] for name in leaves])


def copies(table: Table, params: Params) -> list[tuple[str, ...]]:
    """Returns groups of keys that hold copies of one array."""
    parts, _ = split_layers(table, names(params))
    return [pair.theirs for pair in pairs(table, parts) if pair.rule.tied]


def split_layers(table: Table, leaves: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Divides stacked parameters into layers; returns all leaves, and the stack of each layer."""
    stacks = {pattern for entry in table for pattern in entry.ours if LAYER in pattern}
    stacks = [compiled(pattern.replace(LAYER, "")) for pattern in stacks]
    roots = {pattern.split(LAYER)[0] for e in table for pattern in e.ours if LAYER in pattern}
    parts, homes = {}, {}
    for name, leaf in leaves.items():
        if not any(pattern.fullmatch(name) for pattern in stacks):
            parts[name] = leaf
            continue
        root = next(root for root in roots if name.startswith(f"{root}/"))
        for i in range(leaf.shape[0]):
            layer = f"{root}[{i}]{name.removeprefix(root)}"
            abstract = isinstance(leaf, jax.ShapeDtypeStruct)
            parts[layer] = jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) if abstract else leaf[i]
            homes[layer] = name
    return parts, homes


def _check(table, tensors, parts, found, source):
    """Compares names and shapes; reads only tensors that must be copies of each other."""
    home = {key: pair.ours[0] for pair in found for key in pair.theirs}
    expected = jax.eval_shape(lambda tree: to_theirs(table, tree), parts)
    ignored = [pattern for entry in table if not entry.ours for pattern in entry.theirs]
    strange = [key for key in tensors if key not in expected]
    missing = [
        f"{key} (our {home[key]}){_closest(key, strange) if i < SHOWN else ''}"
        for i, key in enumerate(key for key in expected if key not in tensors)
    ]
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
    whole = [
        f"{key} is stored as {kind}, not as floating-point numbers (our {home[key]})"
        for key, value in expected.items()
        if key in tensors
        if (kind := not_floating(tensors[key])) and jnp.issubdtype(value.dtype, jnp.floating)
    ]
    abstract = [
        pair.ours[0]
        for pair in found
        if not pair.theirs and isinstance(parts[pair.ours[0]], jax.ShapeDtypeStruct)
    ]
    different = [
        f"{key} and {pair.theirs[0]}"
        for pair in found
        for key in pair.theirs[1:] * pair.rule.tied
        if not missing and not other
        if not np.array_equal(np.asarray(tensors[key]), np.asarray(tensors[pair.theirs[0]]))
    ]
    if missing or unused or other or whole or abstract or different:
        raise ValueError(
            f"{source} does not fit the network:"
            + _listed("missing from it", missing)
            + _listed("of another shape", other)
            + _listed("of another type", whole)
            + _listed("unknown to the network", unused)
            + _listed("not copies of each other, as they must be", different)
            + _listed("in no checkpoint, so that the target must hold arrays", abstract)
        )


def not_floating(tensor: Any) -> str:
    """Returns the type of a tensor that is none of floating-point numbers; "" for others."""
    kind = getattr(tensor, "kind", None) or str(getattr(tensor, "dtype", "float32"))
    return "" if kind.lower().lstrip("b").startswith("f") else kind


def _mapped(tensor: Any) -> np.ndarray:
    """Returns a tensor's numbers, of one in a file as they lie there."""
    return tensor.mapped() if hasattr(tensor, "mapped") else np.asarray(tensor)


def _outputs(x: Any) -> int:
    return x.shape[0] if x.shape else 1


def _first(table: Table, name: str) -> tuple[Rule, dict[str, str]] | None:
    for entry in table:
        for pattern in entry.ours:
            if match := compiled(pattern).fullmatch(name):
                return entry, match.groupdict()
    return None


def _fill(patterns: tuple[str, ...], numbers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filled(pattern, numbers) for pattern in patterns)


def _closest(key: str, others: list[str]) -> str:
    found = difflib.get_close_matches(key, others, n=1, cutoff=0.8)
    return f"; the closest there is {found[0]}" if found else ""


def _listed(title: str, entries: list[str]) -> str:
    if not entries:
        return ""
    more = f"; and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return f"\n  {len(entries)} {title}: {'; '.join(entries[:SHOWN])}{more}"
