"""Where each array lives: rules from names and shapes to sharding over a device mesh."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"
"""The mesh axis over which batches, and with FSDP parameters, are divided."""

Placement = Callable[[tuple[int, ...], Mesh], PartitionSpec]
Rules = Sequence[tuple[str, Placement]]


def replicate(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Keeps a whole copy on every device."""
    return PartitionSpec()


def divide_largest(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Divides the longest axis that the number of devices divides; small arrays are replicated."""
    devices = mesh.shape[AXIS]
    axes = [i for i, n in enumerate(shape) if n % devices == 0 and n >= devices]
    if not axes or math.prod(shape) < 2**10:
        return PartitionSpec()
    longest = max(axes, key=lambda i: shape[i])
    return PartitionSpec(*(AXIS if i == longest else None for i in range(len(shape))))


REPLICATED: Rules = ((".*", replicate),)
FSDP: Rules = (("(params|ema|opt_state|frozen)/", divide_largest), (".*", replicate))


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a one-dimensional mesh over the devices (all of them by default)."""
    devices = jax.devices() if devices is None else list(devices)
    return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)


def shardings(tree: Any, rules: Rules, mesh: Mesh) -> Any:
    """Returns a sharding for each array (or shape) of the tree: the first rule that its name fits.

    A name is the path through the tree, such as "params/conv_in/kernel".
    """

    def place(path, leaf):
        name = leaf_name(path)
        placement = next(p for pattern, p in rules if re.search(pattern, name))
        return NamedSharding(mesh, placement(leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, tree)


def leaf_name(path: tuple) -> str:
    """Returns a tree path as a name: "params/conv_in/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def leaf_names(tree: Any) -> list[str]:
    """Returns the names of all leaves, in the order of `jax.tree.leaves`."""
    return [leaf_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
