"""Checkpoints as readers see them: their steps, one item, its checksums, what damage is."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from jaxdiff.files import AnyPath, absolute, as_path, files_in, in_bucket, read_json
from jaxdiff.trees import leaf_name
from jaxdiff.typing import Params
from jaxdiff.weights.checksums import check

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
"""The folder of checkpoints in a run's folder."""

COMMITTED = "commit_success.txt"
"""The file that Orbax writes into a checkpoint in a bucket when all else is written."""

AVERAGE = "ema"
"""The item of a checkpoint that sampling, evaluating and teaching read."""

Value = TypeVar("Value")


def steps_in(folder: AnyPath) -> list[int]:
    """Returns the steps of the finished checkpoints in a folder, oldest first."""
    folder = as_path(folder)
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in found if path.name.isdigit() and finished(path))


def finished(step_folder: AnyPath) -> bool:
    """Returns whether a checkpoint is whole: on a disk one that is not has another name."""
    return not in_bucket(step_folder) or (step_folder / COMMITTED).exists()


def some_steps(folder: AnyPath) -> list[int]:
    """Returns the steps of the finished checkpoints; ValueError without any."""
    found = steps_in(folder)
    if not found:
        raise ValueError(f"{as_path(folder).parent} has no checkpoint yet: train it for a while")
    return found


def read_item(
    folder: AnyPath, item: str, target: Mapping[str, Params], step: int | None = None
) -> tuple[dict[str, Params], int]:
    """Reads entries of one item of a checkpoint, and nothing else of it; returns them and the step.

    Without `step`, the newest checkpoint that is whole; the folder is left as it is.

    Raises:
        ValueError: none is whole, or the entries are of another model.
        OSError: the disk does not let a file be read.
    """
    steps = some_steps(folder)
    if step is not None and step not in steps:
        raise ValueError(f"step={step}: {folder} has checkpoints {steps}")

    def read(step: int) -> dict[str, Params]:
        path = absolute(folder) / str(step) / item
        with ocp.PyTreeCheckpointer() as checkpointer:
            check_shapes(checkpointer, path, target)
            arguments = ocp.args.PyTreeRestore(
                item=target,
                restore_args=ocp.checkpoint_utils.construct_restore_args(target),
                partial_restore=True,
            )
            restored = checkpointer.restore(path, args=arguments)
        check(restored, written_checksums(path.parent).get(item, {}))
        return restored

    return newest_readable([step] if step is not None else steps, read, folder)


def newest_readable(
    steps: list[int],
    read: Callable[[int], Value],
    folder: AnyPath,
    set_aside: Callable[[int], None] = lambda step: None,
) -> tuple[Value, int]:
    """Returns what `read` returns for the newest step that is whole, and the step.

    Newer steps are set aside only after that: an older one that can be read shows that they are
    damaged, and that neither the disk nor the reader is at fault.

    Raises:
        ValueError: none is whole, or one is of another model.
        OSError: the disk does not let a file be read; such a file may be whole.
    """
    failures: dict[int, str] = {}
    for step in reversed(steps):
        try:
            found = read(step)
        except OtherModelError:
            raise
        except Exception as error:  # whatever a damaged file makes Orbax raise
            _check_disk(as_path(folder) / str(step))
            failures[step] = reason(error)
            message = "checkpoint %d is damaged (%s); trying the one before"
            logger.warning(message, step, failures[step])
        else:
            for damaged in failures:
                set_aside(damaged)
            return found, step
    listed = "".join(f"\n  {step}: {why}" for step, why in failures.items())
    raise ValueError(
        f"none of the checkpoints {steps} in {folder} can be read; they are left there:{listed}"
    )


def _check_disk(folder: AnyPath) -> None:
    """Raises OSError, which names the file, where the disk does not let a file be read."""
    for file in files_in(folder):
        with file.open("rb") as stream:
            while stream.read(2**24):
                pass


def written_checksums(step_folder: AnyPath) -> dict[str, dict[str, int]]:
    """Returns a checkpoint's checksums by item and array; none of one from before there were any.

    Raises:
        ValueError: the file is damaged.
    """
    file = step_folder / "checksums" / "metadata"
    return read_json(file, dict) if file.parent.is_dir() else {}


class OtherModelError(ValueError):
    """A checkpoint is whole, but its arrays are not those of the model."""


def reason(error: Exception) -> str:
    """Returns the first line of an error, shortened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def check_shapes(checkpointer: Any, path: AnyPath, target: Any, *, whole: bool = False) -> None:
    """Compares the arrays of an item of a checkpoint with those that are asked for.

    `whole` refuses arrays that nobody asks for, too, as of another optimizer.

    Raises:
        OtherModelError: an array is missing, of another shape, or too much; names it.
    """
    stored = checkpointer.metadata(path).item_metadata.tree
    wanted = {leaf_name(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(target)}
    found = {leaf_name(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(stored)}
    found = {name: leaf for name, leaf in found.items() if getattr(leaf, "shape", None) is not None}
    for name, leaf in wanted.items():
        if name not in found:
            raise OtherModelError(f"{path} has no {name!r}: it is of another model")
        shapes = tuple(found[name].shape), tuple(leaf.shape)
        if shapes[0] != shapes[1]:
            raise OtherModelError(f"{path}: {name!r} has shape {shapes[0]}, the model {shapes[1]}")
    if whole and (extra := sorted(set(found) - set(wanted))):
        raise OtherModelError(
            f"{path} has {extra[0]!r} (and {len(extra) - 1} more), which this model has not: it is "
            "of another one, or of another version"
        )
