"""The devices of a run: the mesh, where each array lies on it, and the processes around it."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxdiff.config.build import build
from jaxdiff.networks import algorithms, layout
from jaxdiff.weights import layouts, placement

AXIS = layouts.DATA
"""The axis of a mesh of one dimension, and the axis that "pmap" maps over."""


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a one-dimensional mesh over the devices (all of them by default)."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


@dataclass(frozen=True)
class Devices:
    """A mesh, how states lie on it, and which process this is.

    `parallel` names the layout, of `jaxdiff.weights.layouts`: "jit" (batches divided, the state
    replicated), "fsdp" (the state divided as well), "pmap", or a "Mesh(...)". The devices are those
    of the `mesh` that is given; the one that is kept has the layout's axes.

    Raises:
        ValueError: the layout is unknown, or does not fit the number of devices.
    """

    mesh: Mesh = field(default_factory=make_mesh)
    parallel: Any = "jit"
    layout: layouts.Mesh = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "layout", build(layouts, self.parallel))
        devices = list(self.mesh.devices.flat)
        object.__setattr__(self, "mesh", self.layout.over(devices))

    @property
    def count(self) -> int:
        """Returns the number of devices, over all processes."""
        return self.mesh.size

    @property
    def groups(self) -> int:
        """Returns the number of parts into which a batch is divided."""
        return self.mesh.shape[layouts.DATA] * self.mesh.shape[layouts.FSDP]

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
        """Returns the sharding of a batch: its first axis divided over "data" and "fsdp"."""
        return NamedSharding(self.mesh, PartitionSpec(layout.EXAMPLES))

    @contextmanager
    def algorithms(self) -> Iterator[None]:
        """Gives the context in which networks are traced for these devices."""
        mesh = self.mesh if self.layout.constrained and not self.layout.mapped else None
        one, kernel = self.count == 1, self.layout.kernel
        with (
            algorithms.use(cpu_loops=one, kernel=kernel),
            layout.use(mesh, self.layout.attention),
        ):
            yield

    def shardings(self, state: Any) -> Any:
        """Returns the sharding of each array (or shape) of a state, by its name."""
        return placement.shardings(state, self.layout, self.mesh)

    def placed(self, shapes: Any) -> Any:
        """Returns a state's shapes with their shardings, for arrays to be read into."""
        place = lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where)
        return jax.tree.map(place, shapes, self.shardings(shapes))

    def put(self, batch: Any) -> Any:
        """Puts this process's part of a global batch on its devices."""
        return jax.tree.map(
            lambda a: jax.make_array_from_process_local_data(self.divided, np.asarray(a)), batch
        )

    def spread(self, batch: Any) -> Any:
        """Puts arrays that every process holds whole on the devices, divided where they divide."""

        def put(a: Any) -> jax.Array:
            divides = np.ndim(a) > 0 and len(a) % self.groups == 0
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
        each = NamedSharding(self.mesh, PartitionSpec(self.mesh.axis_names))
        flags = jax.make_array_from_process_local_data(each, local)
        return _any(flags, self.replicated)

    def wait(self, name: str) -> None:
        """Waits until every process is here."""
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(name)


@functools.partial(jax.jit, static_argnums=1)
def _any(flags: jax.Array, where: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(flags.any(), where)
