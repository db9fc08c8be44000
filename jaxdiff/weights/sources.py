"""Sources of weights: random, released files, another run's average, a copy of another entry.

A config names one for each entry of `config.weights`, as a path or as a call:

    config.weights.network = "runs/digits"                  # the average of another run
    config.weights.network = "OfRun(path='runs/digits', item='params', step=1000)"
    config.weights.network = "path/to/unet"                 # released: a folder, or a hub name
    config.weights.fake_score = "Like(name='network')"
    config.weights.network = "Random()"                     # though there is a teacher
"""

import hashlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import orbax.checkpoint as ocp

from jaxdiff.config.build import build
from jaxdiff.files import read_json
from jaxdiff.pretrained import files
from jaxdiff.trees import has, pruned
from jaxdiff.typing import Params
from jaxdiff.weights.checksums import check
from jaxdiff.weights.devices import leaf_name

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
"""The folder of checkpoints in a run's folder."""

AVERAGE = "ema"
"""The item of a checkpoint that sampling, evaluating and teaching read."""

Value = TypeVar("Value")


@runtime_checkable
class Source(Protocol):
    """A place where the values of some weights come from."""

    def load(self, target: Params) -> Params:
        """Returns the values like `target`, shapes with shardings, whose types they take.

        Raises:
            ValueError: files are missing, damaged or of another network.
        """

    def fingerprint(self) -> str:
        """Returns a hash of the content, the same wherever the files are."""


@dataclass(frozen=True)
class OfRun:
    """The weights of another run: its average, or with `item="params"` the trained ones.

    Attributes:
        path: the run's folder.
        name: the entry of that run's table of weights; "" for all of its entries.
        item: "ema" or "params".
        step: of the checkpoint; None for the newest that can be read.
        new: names of parameters that the other run may lack, or beginnings of names: these begin
            as they would without a source.
    """

    path: str
    name: str = "network"
    item: str = AVERAGE
    step: int | None = None
    new: Sequence[str] = ()

    def load(self, target: Params) -> Params:
        """Returns the weights from a checkpoint, which is only read.

        Raises:
            ValueError: the folder has no checkpoint that can be read, or one of another model.
        """
        if self.new:
            stored = self.shapes()
            target = pruned(
                target, lambda path: not path.startswith(tuple(self.new)) or has(stored, path)
            )
        target = {self.name: target} if self.name else target
        restored, _ = read_item(Path(self.path) / CHECKPOINTS, self.item, target, self.step)
        return restored[self.name] if self.name else restored

    def shapes(self) -> Params:
        """Returns the shapes of the newest checkpoint's arrays; reads none of them.

        Raises:
            ValueError: there is no checkpoint yet.
        """
        folder = Path(self.path) / CHECKPOINTS
        step = _some_steps(folder)[-1] if self.step is None else self.step
        with ocp.PyTreeCheckpointer() as checkpointer:
            stored = checkpointer.metadata((folder / str(step) / self.item).absolute())
        shape = lambda leaf: jax.ShapeDtypeStruct(tuple(leaf.shape), leaf.dtype)
        tree = jax.tree.map(shape, dict(stored.item_metadata.tree))
        return tree[self.name] if self.name else tree

    def fingerprint(self) -> str:
        """Returns the hash of the arrays' files."""
        folder = Path(self.path) / CHECKPOINTS
        step = _some_steps(folder)[-1] if self.step is None else self.step
        digest = hashlib.blake2b(digest_size=16)
        for file in sorted((folder / str(step) / self.item).rglob("*")):
            if file.is_file():
                digest.update(file.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Like:
    """A copy of another entry, as that entry is when training begins."""

    name: str


@dataclass(frozen=True)
class Random:
    """No source: random values, for a student that does not begin as its teacher."""


KIND = Source | Like | Random
"""The kind of objects that the names of this module build."""


@dataclass(frozen=True)
class Files:
    """Released files, read by `read(path, target)`, which knows their keys and layouts."""

    path: str
    read: Callable[[Path, Params], Params]

    def load(self, target: Params) -> Params:
        """Returns the weights of the files.

        Raises:
            ValueError: files are missing, damaged or of another network.
        """
        return self.read(files.resolve(self.path), target)

    def fingerprint(self) -> str:
        """Returns the hash of the files."""
        return files.fingerprint(files.resolve(self.path))


def source(spec: Any, read: Callable[[Path, Params], Params] | None = None) -> Any:
    """Returns the source that a config names; None for random weights ("").

    A path with checkpoints in it is a run's; any other path, or a hub name, is of released files,
    which `read` reads.

    Raises:
        ValueError: a name or an option is unknown, or no released files can be read here.
    """
    if not isinstance(spec, str) or "(" in spec:
        found = build(sys.modules[__name__], spec, read=read) if spec else None
        return None if isinstance(found, Random) else found
    if not spec:
        return None
    if is_run(spec):
        return OfRun(spec)
    if read is None:
        raise ValueError(f"{spec!r} is no folder of a run (it has no {CHECKPOINTS})")
    return Files(spec, read)


def is_run(path: str | Path) -> bool:
    """Returns whether a folder is a run's: it has a config and checkpoints."""
    return (Path(path) / "config.json").is_file() and (Path(path) / CHECKPOINTS).is_dir()


def steps_in(folder: Path) -> list[int]:
    """Returns the steps of the finished checkpoints in a folder, oldest first."""
    return sorted(int(path.name) for path in Path(folder).glob("*") if path.name.isdigit())


def _some_steps(folder: Path) -> list[int]:
    found = steps_in(folder)
    if not found:
        raise ValueError(f"{Path(folder).parent} has no checkpoint yet: train it for a while")
    return found


def read_item(
    folder: Path, item: str, target: Mapping[str, Params], step: int | None = None
) -> tuple[dict[str, Params], int]:
    """Reads entries of one item of a checkpoint, and nothing else of it; returns them and the step.

    Without `step`, the newest checkpoint that is whole; the folder is left as it is.

    Raises:
        ValueError: none is whole, or the entries are of another model.
        OSError: the disk does not let a file be read.
    """
    steps = _some_steps(folder)
    if step is not None and step not in steps:
        raise ValueError(f"step={step}: {folder} has checkpoints {steps}")

    def read(step: int) -> dict[str, Params]:
        path = (Path(folder) / str(step) / item).absolute()
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
    folder: Path,
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
            _check_disk(Path(folder) / str(step))
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


def _check_disk(folder: Path) -> None:
    """Raises OSError, which names the file, where the disk does not let a file be read."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                while stream.read(2**24):
                    pass


def written_checksums(step_folder: Path) -> dict[str, dict[str, int]]:
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


def check_shapes(checkpointer: Any, path: Path, target: Any, *, whole: bool = False) -> None:
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
