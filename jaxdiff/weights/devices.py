"""The devices of a run: the mesh, where each array lies on it, and the processes around it."""

import functools
import math
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxdiff.networks import algorithms

AXIS = "data"
"""The mesh axis over which batches, and with FSDP parameters, are divided."""

PARALLEL = ("jit", "fsdp", "pmap")

Placement = Callable[[tuple[int, ...], Mesh], PartitionSpec]
Rules = Sequence[tuple[str, Placement]]


def replicate(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """Keeps a copy on every device."""
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


@dataclass(frozen=True)
class Devices:
    """A mesh, how states lie on it, and which process this is.

    `parallel` is "jit" (batches divided, the state replicated), "fsdp" (the state divided as well)
    or "pmap". A state has the same layout under "jit" and "pmap".

    Raises:
        ValueError: the mode is unknown.
    """

    mesh: Mesh = field(default_factory=make_mesh)
    parallel: str = "jit"

    def __post_init__(self):
        if self.parallel not in PARALLEL:
            raise ValueError(f"parallel={self.parallel!r}; known: {', '.join(PARALLEL)}")

    @property
    def count(self) -> int:
        """Returns the number of devices, over all processes."""
        return self.mesh.size

    @property
    def is_main(self) -> bool:
        """Returns whether this process writes logs and pictures; exactly one does."""
        return jax.process_index() == 0

    @property
    def replicated(self) -> NamedSharding:
        """Returns the sharding of an array that every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def divided(self) -> NamedSharding:
        """Returns the sharding of a batch: its first axis divided over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def algorithms(self) -> AbstractContextManager[None]:
        """Returns the context in which networks are traced for these devices."""
        return algorithms.use(cpu_loops=self.count == 1)

    def shardings(self, state: Any) -> Any:
        """Returns the sharding of each array (or shape) of a state, by its name."""
        rules = FSDP if self.parallel == "fsdp" else REPLICATED
        return shardings(state, rules, self.mesh)

    def placed(self, shapes: Any) -> Any:
        """Returns a state's shapes with their shardings, for arrays to be read into."""
        place = lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where)
        return jax.tree.map(place, shapes, self.shardings(shapes))

    def put(self, batch: Any) -> Any:
        """Puts this process's part of a global batch on its devices."""
        if self.parallel == "pmap":
            devices = jax.local_device_count() if jax.process_count() > 1 else self.count
            return jax.tree.map(lambda a: a.reshape(devices, -1, *a.shape[1:]), batch)
        return jax.tree.map(
            lambda a: jax.make_array_from_process_local_data(self.divided, np.asarray(a)), batch
        )

    def spread(self, batch: Any) -> Any:
        """Puts arrays that every process holds whole on the devices, divided where they divide."""

        def put(a: Any) -> jax.Array:
            divides = np.ndim(a) > 0 and len(a) % self.count == 0
            where = self.divided if divides else self.replicated
            if jax.process_count() == 1:
                return jax.device_put(a, where)
            return jax.make_array_from_callback(a.shape, where, lambda index: a[index])

        return jax.tree.map(put, batch)

    def gather(self, tree: Any) -> Any:
        """Returns arrays that may lie on several processes as NumPy arrays, whole, on each."""
        if jax.process_count() == 1:
            return jax.tree.map(np.asarray, tree)
        return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree, tiled=True))

    def begin_any(self, flag: bool) -> jax.Array:
        """Begins to ask whether the flag is set in any process; every process must ask.

        The answer, a boolean that every device holds, is not waited for.
        """
        local = np.full(len(self.mesh.local_devices), flag)
        flags = jax.make_array_from_process_local_data(self.divided, local)
        return _any(flags, self.replicated)

    def wait(self, name: str) -> None:
        """Waits until every process is here."""
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(name)


@functools.partial(jax.jit, static_argnums=1)
def _any(flags: jax.Array, where: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(flags.any(), where)


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
