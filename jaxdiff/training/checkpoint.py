"""Checkpoints: state, data position and meters in one atomic, asynchronous Orbax composite."""

import logging
import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import orbax.checkpoint as ocp

from jaxdiff.training.state import TrainState

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
    """The checkpoints of a run, by step, the newest `keep` of them."""

    def __init__(self, folder: str | Path, keep: int = 3, *, read_only: bool = False):
        """Opens the folder, making it when the first checkpoint is saved.

        What a killed run left half written is removed; but not by a reader, to whom a checkpoint
        that is being written right now looks the same.
        """
        self.folder, self.read_only = Path(folder).absolute(), read_only
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=True,
            cleanup_tmp_directories=not read_only,
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

        What is frozen is left out: it is read from where it came from.

        Raises:
            CheckpointError: this one, or the one that was being written, could not be finished.
        """
        step = int(state.step)
        if step in self.steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state.replace(frozen={})),
            data=ocp.args.JsonSave(data.get_state()),
            meter=ocp.args.JsonSave(dict(meter)),
            config=ocp.args.JsonSave(dict(config)),
        )
        with self._naming_errors():
            self._manager.save(step, args=items)

    def restore(
        self, abstract: TrainState, data: Position | None = None
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """Restores the newest checkpoint that can be read, as (state, meter), and `data` in place.

        The state has nothing frozen.

        One that cannot be read is set aside under "damaged" with a warning, left in place by a
        reader, and the one before it is tried. Returns None if there is no checkpoint at all.

        Raises:
            ValueError: there are checkpoints, but none of them can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self._restore(step, abstract, data)
            except Exception as error:  # whatever a damaged file makes Orbax raise
                logger.warning(
                    "checkpoint %d cannot be read (%s); falling back to the one before",
                    step,
                    _reason(error),
                )
                if not self.read_only:
                    self._set_aside(step)
        if steps:
            raise ValueError(f"none of the checkpoints {steps} in {self.folder} can be read")
        return None

    def wait(self) -> None:
        """Waits until what was begun is written.

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
                f"a checkpoint could not be written to {self.folder} ({_reason(error)}); "
                f"finished ones, untouched: {self.steps() or 'none'}"
            ) from error

    def _restore(self, step, abstract, data):
        items = {
            "state": ocp.args.StandardRestore(abstract.replace(frozen={})),
            "data": ocp.args.JsonRestore(),
            "meter": ocp.args.JsonRestore(),
        }
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        if data is not None:
            data.set_state(restored.data)
        return restored.state, restored.meter

    def _set_aside(self, step):
        aside = self.folder.parent / "damaged" / str(step)
        aside.parent.mkdir(exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.move(self.folder / str(step), aside)
        self._manager.reload()


def _reason(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
