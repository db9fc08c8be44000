"""Runs a step on devices: by jit with shardings, or by pmap."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key

from jaxdiff.training.state import TrainState
from jaxdiff.training.step import Batch, Recipe, make_step
from jaxdiff.weights import partition

PARALLEL = ("jit", "fsdp", "pmap")


@dataclass
class Runner:
    """The devices, and the compiled step on them.

    `parallel` is "jit" (data-parallel, the state replicated), "fsdp" (the state divided as well)
    or "pmap". The state has the same layout under "jit" and "pmap".

    Raises:
        ValueError: the mode is unknown, or the batch does not divide over the devices.
    """

    recipe: Recipe
    parallel: str = "jit"
    mesh: Mesh = field(default_factory=partition.make_mesh)

    def __post_init__(self):
        if self.parallel not in PARALLEL:
            raise ValueError(f"parallel={self.parallel!r}; known: {', '.join(PARALLEL)}")
        devices, batch_size = self.mesh.size, self.recipe.batch_size
        accumulate = self.recipe.accumulate
        if accumulate < 1 or batch_size % (devices * accumulate):
            raise ValueError(
                f"batch_size={batch_size} is not divisible by {devices} devices times "
                f"accumulate={accumulate}; the nearest that is: "
                f"{max(round(batch_size / (devices * accumulate)), 1) * devices * accumulate}"
            )
        rules = partition.FSDP if self.parallel == "fsdp" else partition.REPLICATED
        self._shardings = lambda tree: partition.shardings(tree, rules, self.mesh)
        self._divided = NamedSharding(self.mesh, PartitionSpec(partition.AXIS))
        self._step = None

    def init(
        self,
        create: Callable[[Key[Array, ""]], TrainState],
        shapes: TrainState,
        key: Key[Array, ""],
    ) -> TrainState:
        """Creates the state on the devices, each array where it belongs from the start."""
        return jax.jit(create, out_shardings=self._shardings(shapes))(key)

    def placed(self, shapes: TrainState) -> TrainState:
        """Returns a state's shapes with their shardings, for arrays to be read into."""
        return jax.tree.map(
            lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
            shapes,
            self._shardings(shapes),
        )

    def place(self, batch: dict[str, Any]) -> Batch:
        """Puts this process's part of a global batch on its devices, and adds "position"."""
        size = len(batch["x"])
        position = np.arange(size, dtype=np.int32) + jax.process_index() * size
        batch = {**batch, "position": position}
        if self.parallel == "pmap":
            devices = jax.local_device_count() if jax.process_count() > 1 else self.mesh.size
            return jax.tree.map(lambda a: a.reshape(devices, -1, *a.shape[1:]), batch)
        put = lambda a: jax.make_array_from_process_local_data(self._divided, a)
        return jax.tree.map(put, batch)

    def compile(self, state: TrainState, batch: Batch) -> float:
        """Compiles the step for these shapes and returns the seconds that it took."""
        start = time.perf_counter()
        if self.parallel == "pmap":
            step = jax.pmap(
                make_step(self.recipe, axis=partition.AXIS),
                axis_name=partition.AXIS,
                in_axes=(None, 0),
                out_axes=None,
                devices=None if jax.process_count() > 1 else list(self.mesh.devices.flat),
            )
        else:
            step = jax.jit(
                make_step(self.recipe),
                donate_argnums=0,
                out_shardings=(
                    self._shardings(state),
                    NamedSharding(self.mesh, PartitionSpec()),
                ),
            )
        self._step = step.lower(state, batch).compile()
        return time.perf_counter() - start

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """Takes one optimizer step; the state that was given is no longer to be used."""
        if self._step is None:
            self.compile(state, batch)
        return self._step(state, batch)
