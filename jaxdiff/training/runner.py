"""Runs a step on devices: divided by the compiler, or mapped over them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Key

from jaxdiff.training.state import TrainState
from jaxdiff.training.step import Batch, Recipe, make_step
from jaxdiff.typing import Params
from jaxdiff.weights.devices import AXIS, Devices

Create = Callable[[Key[Array, ""], Mapping[str, Params]], TrainState]

_hits: list[str] = []
"""An entry for each program that came from the compilation cache."""


def _listen(event: str, **details: Any) -> None:
    if event == "/jax/compilation_cache/cache_hits":
        _hits.append(event)


jax.monitoring.register_event_listener(_listen)


class Compiled(NamedTuple):
    """The seconds that compiling took, and whether the compilation cache had the program."""

    seconds: float
    from_cache: bool


@dataclass
class Runner:
    """The compiled step on devices."""

    recipe: Recipe
    devices: Devices
    _steps: dict[Any, Any] = field(default_factory=dict, init=False)

    def check(self) -> None:
        """Raises ValueError if the batch does not divide over the devices.

        Sampling needs no such batch: a run is loaded on any number of devices.
        """
        devices, batch_size = self.devices.groups, self.recipe.batch_size
        accumulate = self.recipe.accumulate
        if accumulate < 1 or batch_size % (devices * accumulate):
            raise ValueError(
                f"batch_size={batch_size} is not divisible by {devices} devices times "
                f"accumulate={accumulate}; the nearest that is: "
                f"{max(round(batch_size / (devices * accumulate)), 1) * devices * accumulate}"
            )

    def init(
        self,
        create: Create,
        shapes: TrainState,
        key: Key[Array, ""],
        loaded: Mapping[str, Params],
    ) -> TrainState:
        """Creates the state on the devices, each array where it belongs from the start."""
        return jax.jit(create, out_shardings=self.devices.shardings(shapes))(key, loaded)

    def compile(self, state: TrainState, batch: Batch) -> Compiled:
        """Compiles the step for these shapes; returns how long it took, and whether from a cache.

        Another seed or learning rate is the same program; another shape of the batch is another.
        """
        start, hits = time.perf_counter(), len(_hits)
        self._steps[_shapes(batch)] = self.lower(state, batch).compile()
        return Compiled(time.perf_counter() - start, len(_hits) > hits)

    def lower(self, state: TrainState, batch: Batch) -> Any:
        """Returns the step as `jax.jit` lowers it; state and batch may be shapes."""
        if self.devices.layout.mapped:
            # As `jax.pmap` is inside; that one cannot donate a state of which it makes the copies.
            step = jax.shard_map(
                make_step(self.recipe, axis=AXIS),
                mesh=self.devices.mesh,
                in_specs=(PartitionSpec(), PartitionSpec(AXIS), PartitionSpec()),
                out_specs=PartitionSpec(),
                check_vma=False,
            )
        else:
            step = make_step(self.recipe)
        out = self.devices.shardings(state), self.devices.replicated
        step = jax.jit(step, donate_argnums=0, out_shardings=out)
        with self.devices.algorithms():
            return step.lower(state, batch, self.recipe.numbers(0))

    def step(self, state: TrainState, batch: Batch, step: int) -> tuple[TrainState, dict[str, Any]]:
        """Takes the step of this number; the state that was given is no longer to be used."""
        if (shapes := _shapes(batch)) not in self._steps:
            self.compile(state, batch)
        return self._steps[shapes](state, batch, self.recipe.numbers(step))


def _shapes(batch: Batch) -> tuple[Any, ...]:
    """Returns what another program is needed for."""
    return tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(batch))
