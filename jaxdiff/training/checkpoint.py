"""Checkpoints: an atomic, asynchronous Orbax composite of separate items.

"params", "ema", "opt_state" and "progress" (the step and the statistics) are arrays; "data" (the
position), "meter", "config" and "checksums" (of the arrays) are JSON. Sampling and teachers read
"ema" alone.
"""

import functools
import itertools
import logging
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import jax
import orbax.checkpoint as ocp

from jaxdiff.files import AnyPath, absolute, move_folder, remove_folder
from jaxdiff.training.state import TrainState
from jaxdiff.weights.checksums import check, checksums
from jaxdiff.weights.stored import (
    check_shapes,
    finished,
    newest_readable,
    reason,
    steps_in,
    written_checksums,
)

logger = logging.getLogger(__name__)

TEMPORARY = "orbax-checkpoint-tmp"
"""A part of the names that Orbax gives to what it has not finished."""


@runtime_checkable
class Position(Protocol):
    """Something with a place to go back to, such as a data iterator."""

    def get_state(self) -> dict[str, Any]:
        """Returns the place, in JSON's types."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to the place."""


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; those written before are untouched."""


class Checkpoints:
    """The checkpoints of a run in training, by step, the newest `keep` of them."""

    def __init__(self, folder: str | AnyPath, keep: int = 3):
        """Opens the folder, making it when the first checkpoint is saved.

        Half-written remains of a killed run are removed. Readers go by `stored.read_item`, which
        leaves the folder alone.
        """
        self.folder = absolute(folder)
        self._keep = keep
        # A first checkpoint that was being written when the run was killed, and nothing else.
        entries = list(self.folder.iterdir()) if self.folder.is_dir() else []
        unfinished = entries and all(TEMPORARY in e.name or not finished(e) for e in entries)
        if unfinished and jax.process_index() == 0:
            remove_folder(self.folder)

    def steps(self) -> list[int]:
        """Returns the steps that have a finished checkpoint, oldest first."""
        return steps_in(self.folder)

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._keep, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        return ocp.CheckpointManager(self.folder, options=options)

    def save(
        self,
        state: TrainState,
        data: Position,
        meter: Mapping[str, Any],
        config: Mapping[str, Any],
    ) -> None:
        """Begins to write a checkpoint of the state's step; a step that has one is left alone.

        Frozen weights are left out: they are read from their sources.

        Raises:
            CheckpointError: this one, or the one that was being written, could not be finished.
        """
        step = int(state.step)
        if step in self.steps():
            return
        arrays = _items(state)
        items = {
            **{name: ocp.args.StandardSave(tree) for name, tree in arrays.items()},
            "checksums": ocp.args.JsonSave({k: checksums(tree) for k, tree in arrays.items()}),
            "data": ocp.args.JsonSave(data.get_state()),
            "meter": ocp.args.JsonSave(dict(meter)),
            "config": ocp.args.JsonSave(dict(config)),
        }
        with self._naming_errors():
            self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(
        self, abstract: TrainState, data: Position
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """Restores the newest whole checkpoint: the state, the meter, and `data` in place.

        The state has nothing frozen. A checkpoint that is damaged is set aside under "damaged",
        with a warning, once the one before it has been read. None if there never was a checkpoint.

        Raises:
            ValueError: the run had checkpoints, but none is left, or none of them is whole, or
                they are of another model; nothing is moved.
            OSError: the disk does not let a file be read.
        """
        if not self.steps():
            if self.folder.is_dir():
                raise ValueError(
                    f"{self.folder} has no checkpoint, but the run had some: put one back, or "
                    "remove this folder to begin at step 0"
                )
            return None
        read = lambda step: self._restore(step, abstract)
        (state, position, meter), _ = newest_readable(
            self.steps(), read, self.folder, self._set_aside
        )
        data.set_state(position)
        return state, meter

    def wait(self) -> None:
        """Waits until all that was begun is written.

        Raises:
            CheckpointError: it could not be finished.
        """
        with self._naming_errors():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Waits, and lets go of the folder."""
        if "_manager" in vars(self):
            self._manager.close()

    @contextmanager
    def _naming_errors(self):
        try:
            yield
        except Exception as error:  # Orbax passes on whatever the file system answers
            raise CheckpointError(
                f"a checkpoint could not be written to {self.folder} ({reason(error)}); "
                f"finished ones, untouched: {self.steps() or 'none'}"
            ) from error

    def _restore(self, step, abstract):
        path, targets = self.folder / str(step), _items(abstract)
        with ocp.PyTreeCheckpointer() as checkpointer:
            for name, target in targets.items():
                check_shapes(checkpointer, path / name, target, whole=True)
        json = {name: ocp.args.JsonRestore() for name in ("data", "meter")}
        arrays = {name: ocp.args.StandardRestore(target) for name, target in targets.items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**arrays, **json))
        written = written_checksums(path)
        for name in targets:
            check(restored[name], written.get(name, {}))
        state = abstract.replace(
            frozen={},
            **{name: restored[name] for name in ("params", "ema", "opt_state")},
            **restored["progress"],
        )
        return state, restored["data"], restored["meter"]

    def _set_aside(self, step):
        if jax.process_index() == 0:
            damaged = self.folder.parent / "damaged"
            damaged.mkdir(parents=True, exist_ok=True)
            names = itertools.chain([str(step)], (f"{step}.{k}" for k in itertools.count(1)))
            free = next(name for name in names if not (damaged / name).exists())
            move_folder(self.folder / str(step), damaged / free)
        self._manager.reload()


def _items(state: TrainState) -> dict[str, Any]:
    progress = {"step": state.step, "statistics": state.statistics}
    return {
        "params": state.params,
        "ema": state.ema,
        "opt_state": state.opt_state,
        "progress": progress,
    }
