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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jaxdiff.config.build import build
from jaxdiff.files import AnyPath, absolute, as_path, files_in
from jaxdiff.pretrained import files
from jaxdiff.trees import has, pruned
from jaxdiff.typing import Params
from jaxdiff.weights.stored import AVERAGE, CHECKPOINTS, read_item, some_steps

logger = logging.getLogger(__name__)


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
        restored, _ = read_item(as_path(self.path) / CHECKPOINTS, self.item, target, self.step)
        return restored[self.name] if self.name else restored

    def shapes(self) -> Params:
        """Returns the shapes of the newest checkpoint's arrays; reads none of them.

        Published weights are stored in bfloat16 and read as float32, like all averages.

        Raises:
            ValueError: there is no checkpoint yet.
        """
        folder = as_path(self.path) / CHECKPOINTS
        step = some_steps(folder)[-1] if self.step is None else self.step
        with ocp.PyTreeCheckpointer() as checkpointer:
            stored = checkpointer.metadata(absolute(folder) / str(step) / self.item)
        read_as = lambda dtype: jnp.float32 if dtype == jnp.bfloat16 else dtype
        shape = lambda leaf: jax.ShapeDtypeStruct(tuple(leaf.shape), read_as(leaf.dtype))
        tree = jax.tree.map(shape, dict(stored.item_metadata.tree))
        return tree[self.name] if self.name else tree

    def fingerprint(self) -> str:
        """Returns the hash of the arrays' files."""
        folder = as_path(self.path) / CHECKPOINTS
        step = some_steps(folder)[-1] if self.step is None else self.step
        digest = hashlib.blake2b(digest_size=16)
        for file in files_in(folder / str(step) / self.item):
            digest.update(file.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Like:
    """A copy of another entry, as that entry is when training begins.

    `take(fresh, other)` returns the values where the copy is of a part: of random ones and those of
    the other entry.
    """

    name: str
    take: Callable[[Params, Params], Params] | None = None


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


def is_run(path: str | AnyPath) -> bool:
    """Returns whether a folder is a run's: it has a config and checkpoints."""
    path = as_path(path)
    return (path / "config.json").is_file() and (path / CHECKPOINTS).is_dir()
