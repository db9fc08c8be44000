"""Where each array of a state lies on a mesh: rules by names, and the longest axis over "fsdp".

A rule is a pattern for the name of a parameter and mesh axes for its last axes. Averages and
optimizer state follow the parameter whose name theirs ends in.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh as DeviceMesh
from jax.sharding import NamedSharding, PartitionSpec

from jaxdiff.trees import leaf_name
from jaxdiff.weights.layouts import FSDP, TENSOR, Mesh, Rule

COLUMNS = ("query", "key", "value", "hidden", "gate", "vector", "shared_modulation")
"""Maps whose outputs are divided over "tensor", and whose bias is with them."""

ROWS = (r"block\w*", "mlp", "self", "text", "time", "joint", "attention")
"""Modules whose "out" takes divided channels."""

RULES: Sequence[Rule] = (
    (rf"(^|[/_])({'|'.join(COLUMNS)})/kernel$", (None, TENSOR)),
    (rf"(^|[/_])({'|'.join(COLUMNS)})/bias$", (TENSOR,)),
    (rf"(^|/)({'|'.join(ROWS)})/(text_)?out/kernel$", (TENSOR, None)),
    (r"mlp/in/kernel$", (None, TENSOR)),
    (r"residual/conv_in/kernel$", (None, TENSOR)),
    (r"residual/conv_in/bias$", (TENSOR,)),
    (r"residual/conv_out/kernel$", (TENSOR, None)),
)
"""Pairs of layers (Shoeybi et al., 2019): the first is divided by its outputs, the second by its
inputs, so that what is between them is sent nowhere."""

STACKED = re.compile(r"(^|/)(dual_)?blocks/")
"""Parameters whose first axis is that of a scan over layers, which is never divided."""

SMALLEST = 2**10
"""Elements; a smaller array is not divided over "fsdp"."""

FROZEN = "frozen/"


def shardings(state: Any, layout: Mesh, mesh: DeviceMesh) -> Any:
    """Returns the sharding of each array (or shape) of a state, or of some of its fields.

    Raises:
        ValueError: a rule of `layout` fits no parameter; a dimension does not divide; or no
            parameter can be divided over "tensor". Names the parameter and its axes.
    """
    leaves = [(leaf_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]
    parameters = {
        name.removeprefix("params/"): tuple(leaf.shape)
        for name, leaf in leaves
        if name.startswith("params/")
    }
    if parameters:
        _check_rules(layout, parameters, mesh)
    small = set(_small_parts(leaves, layout.whole_below * 2**20))
    rules = (*layout.rules, *RULES)

    def place(path: tuple, leaf: Any) -> NamedSharding:
        name, shape = leaf_name(path), tuple(leaf.shape)
        section, _, rest = name.partition("/")
        spec = PartitionSpec()
        if section == "frozen" and _part(name) not in small:
            spec = spec_of(rest, shape, mesh, layout.rules) or over_fsdp(rest, shape, mesh)
        elif section in ("params", "ema"):
            spec = spec_of(rest, shape, mesh, rules) or over_fsdp(rest, shape, mesh)
        elif section == "opt_state":
            parameter = _followed(rest, shape, parameters)
            if parameter is not None:
                spec = spec_of(parameter, shape, mesh, rules)
            spec = spec or over_fsdp(parameter or rest, shape, mesh)
        return NamedSharding(mesh, spec or PartitionSpec())

    return jax.tree_util.tree_map_with_path(place, state)


def spec_of(
    name: str, shape: tuple[int, ...], mesh: DeviceMesh, rules: Sequence[Any]
) -> PartitionSpec | None:
    """Returns the axes that the first rule gives, and "fsdp" beside them; None without a rule.

    Raises:
        ValueError: a dimension does not divide over its axis, or the rule has too many axes.
    """
    found = next((rule for rule in rules if re.search(rule[0], name)), None)
    if found is None:
        return None
    pattern, axes = found
    if len(axes) > len(shape):
        raise ValueError(
            f"parallel: the rule {pattern!r} has {len(axes)} axes {tuple(axes)}, but {name} has"
            f" shape {shape}"
        )
    entries = [None] * (len(shape) - len(axes)) + list(axes)
    for size, axis in zip(shape, entries, strict=True):
        if axis is not None and size % mesh.shape[axis]:
            raise ValueError(
                f"parallel: {name} has shape {shape}, and its axis of {size} does not divide over"
                f" {axis}={mesh.shape[axis]} (the rule {pattern!r} with {tuple(axes)})"
            )
    if found in RULES:
        return over_fsdp(name, shape, mesh, entries)
    return PartitionSpec(*entries)


def over_fsdp(
    name: str,
    shape: tuple[int, ...],
    mesh: DeviceMesh,
    entries: Sequence[str | None] = (),
) -> PartitionSpec:
    """Divides the longest free axis that the devices of "fsdp" divide; small arrays are whole."""
    placed = list(entries) or [None] * len(shape)
    devices = mesh.shape[FSDP]
    first = 1 if STACKED.search(name) and len(shape) > 1 else 0
    free = [
        i
        for i in range(first, len(shape))
        if placed[i] is None and shape[i] % devices == 0 and shape[i] >= devices
    ]
    if devices > 1 and free and math.prod(shape) >= SMALLEST:
        placed[max(free, key=lambda i: shape[i])] = FSDP
    return PartitionSpec(*placed) if any(placed) else PartitionSpec()


def _check_rules(layout: Mesh, parameters: Mapping[str, tuple[int, ...]], mesh: DeviceMesh) -> None:
    fits = lambda pattern: any(re.search(pattern, name) for name in parameters)
    for pattern, axes in layout.rules:
        if not fits(pattern):
            some = ", ".join(list(parameters)[:3])
            raise ValueError(
                f"parallel: the rule {pattern!r} with {tuple(axes)} fits no parameter; names are"
                f" like {some}"
            )
    if mesh.shape[TENSOR] > 1:
        over_tensor = [pattern for pattern, axes in (*layout.rules, *RULES) if TENSOR in axes]
        if not any(map(fits, over_tensor)):
            raise ValueError(
                f"parallel: no rule divides a parameter over tensor={mesh.shape[TENSOR]}: all of"
                " its devices would compute the same; give rules, or use data or fsdp"
            )


def _followed(
    rest: str, shape: tuple[int, ...], parameters: Mapping[str, tuple[int, ...]]
) -> str | None:
    """Returns the parameter of the same shape whose name ends an optimizer state's name."""
    words = rest.split("/")
    suffixes = ("/".join(words[i:]) for i in range(len(words)))
    return next((name for name in suffixes if parameters.get(name) == shape), None)


def _small_parts(leaves: Sequence[tuple[str, Any]], least: int) -> Iterator[str]:
    """Yields the frozen parts with fewer bytes."""
    sizes: dict[str, int] = {}
    for name, leaf in leaves:
        if name.startswith(FROZEN):
            size = math.prod(leaf.shape) * leaf.dtype.itemsize
            sizes[_part(name)] = sizes.get(_part(name), 0) + size
    yield from (part for part, size in sizes.items() if size < least)


def _part(name: str) -> str:
    return name.split("/")[1]
