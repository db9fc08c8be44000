"""Checkpoints: an atomic, asynchronous Orbax composite of separate items.

"params", "ema", "opt_state" and "progress" (the step and the statistics) are arrays; "data" (the
position), "meter" and "config" are JSON. Sampling and teachers read "ema" alone.
"""

import logging
import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import orbax.checkpoint as ocp

from jaxdiff.training.state import TrainState
from jaxdiff.weights.sources import newest_readable, reason

logger = logging.getLogger(__name__)


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

    def __init__(self, folder: str | Path, keep: int = 3):
        """Opens the folder, making it when the first checkpoint is saved.

        Half-written remains of a killed run are removed. Readers go by `sources.read_item`, which
        leaves the folder alone.
        """
        self.folder = Path(folder).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def steps(self) -> list[int]:
        """Returns the steps that have a finished checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

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
        items = {
            **{name: ocp.args.StandardSave(tree) for name, tree in _items(state).items()},
            "data": ocp.args.JsonSave(data.get_state()),
            "meter": ocp.args.JsonSave(dict(meter)),
            "config": ocp.args.JsonSave(dict(config)),
        }
        with self._naming_errors():
            self._manager.save(step, args=ocp.args.Composite(**items))

    def restore(
        self, abstract: TrainState, data: Position
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """Restores the newest readable checkpoint: the state, the meter, and `data` in place.

        The state has nothing frozen. A checkpoint that cannot be read is set aside under "damaged"
        with a warning, and the one before it is tried. None if there is no checkpoint at all.

        Raises:
            ValueError: there are checkpoints, but none of them can be read.
        """
        if not self.steps():
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
        json = {name: ocp.args.JsonRestore() for name in ("data", "meter")}
        arrays = {name: ocp.args.StandardRestore(t) for name, t in _items(abstract).items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**arrays, **json))
        state = abstract.replace(
            frozen={},
            **{name: restored[name] for name in ("params", "ema", "opt_state")},
            **restored["progress"],
        )
        return state, restored["data"], restored["meter"]

    def _set_aside(self, step):
        aside = self.folder.parent / "damaged" / str(step)
        aside.parent.mkdir(exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.move(self.folder / str(step), aside)
        self._manager.reload()


def _items(state: TrainState) -> dict[str, Any]:
    progress = {"step": state.step, "statistics": state.statistics}
    return {
        "params": state.params,
        "ema": state.ema,
        "opt_state": state.opt_state,
        "progress": progress,
    }
