"""Tensors of PyTorch's files, read without running anything that a file names.

A file of `torch.save` is a zip archive: a pickle, and the bytes of each storage beside it. A pickle
builds objects by the names of functions. Here the names of tensors, parameters, storages and tables
have a meaning, in this module; every other one stands for an inert object. So no function or class
that a file names is ever looked up, let alone called.
"""

import collections
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

STORAGES = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16, "LongStorage": np.int64, "IntStorage": np.int32,
    "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}  # fmt: skip
"""The types of numbers by PyTorch's names of their storages."""


@dataclass(frozen=True)
class Storage:
    """The numbers of a file in a row, `name` in its archive."""

    name: str
    kind: Any


@dataclass(frozen=True)
class Pickled:
    """A tensor in a file: a view of a storage, as in PyTorch; steps are counted in numbers."""

    archive: Path
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        with zipfile.ZipFile(self.archive) as archive:
            flat = np.frombuffer(archive.read(self.storage.name), self.storage.kind)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.steps, strict=True))
        if all(self.shape) and not 0 <= self.offset <= last < len(flat):
            raise ValueError(f"{str(self.archive)!r}: a tensor goes beyond {self.storage.name!r}")
        if not all(self.shape):
            return np.zeros(self.shape, dtype or flat.dtype)
        steps = tuple(step * flat.itemsize for step in self.steps)
        view = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps)
        return np.array(view, dtype)


def read_pickled(path: Path, name: str = "") -> dict[str, Pickled]:
    """Returns the tensors in a file of `torch.save` by key, without reading their numbers.

    Args:
        path: a .pt, .pth, .ckpt or .bin file.
        name: of a table in the file, "ema" or "state_dict"; by default the only one with tensors.

    Raises:
        ValueError: the file is damaged, of another kind, or has no such table, or several.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [each for each in archive.namelist() if each.endswith("/data.pkl")]
            if len(found) != 1:
                raise ValueError(f"{str(path)!r} is no file of torch.save: it has no data.pkl")
            order = found[0].replace("data.pkl", "byteorder")
            if order in archive.namelist() and archive.read(order).strip() != b"little":
                raise ValueError(f"{str(path)!r} is of another byte order than this machine's")
            with archive.open(found[0]) as stream:
                content = _Reader(stream, path, found[0].removesuffix("data.pkl")).load()
    except zipfile.BadZipFile:
        raise ValueError(
            f"{str(path)!r} is cut off, or of PyTorch before 1.6, which has no archive"
        ) from None
    except ValueError:
        raise
    except Exception as error:  # whatever a damaged pickle makes the reader raise
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from None
    return _table(content, path, name)


def _table(content: Any, path: Path, name: str) -> dict[str, Pickled]:
    tables = {}
    if isinstance(content, Mapping):
        tables = {"": content} | {k: v for k, v in content.items() if isinstance(v, Mapping)}
    tables = {key: _tensors(value) for key, value in tables.items()}
    tables = {key: value for key, value in tables.items() if value}
    if name and name not in tables:
        known = ", ".join(sorted(filter(None, tables))) or "none"
        raise ValueError(f"{str(path)!r} has no table {name!r} of tensors; it has: {known}")
    if not tables:
        raise ValueError(f"{str(path)!r} holds no tensors by key")
    if name or "" in tables:
        return tables[name]
    if len(tables) > 1:
        raise ValueError(f"{str(path)!r} has several tables: name one of {', '.join(tables)}")
    return next(iter(tables.values()))


def _tensors(table: Mapping[Any, Any]) -> dict[str, Pickled]:
    return {str(key): value for key, value in table.items() if isinstance(value, Pickled)}


class _Inert:
    """Stands for every object that is neither a tensor nor a table; it keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> "_Inert":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Takes an item of a list, and forgets it."""

    def extend(self, values: Any) -> None:
        """Takes items of a list, and forgets them."""


class _Reader(pickle.Unpickler):
    def __init__(self, stream: Any, path: Path, folder: str):
        super().__init__(stream)
        self._path, self._folder = path, folder

    def find_class(self, module: str, name: str) -> Any:
        meanings = {
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *others: tensor,
            ("collections", "OrderedDict"): collections.OrderedDict,
        }
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        return meanings.get((module, name), _Inert)

    def persistent_load(self, pid: Any) -> Any:
        kind = pid[1] if isinstance(pid, tuple) and len(pid) > 2 and pid[0] == "storage" else None
        if kind not in STORAGES.values():
            raise ValueError(f"{str(self._path)!r} has a storage of an unknown type")
        return Storage(f"{self._folder}data/{pid[2]}", kind)

    def _tensor(
        self, storage: Any, offset: int, shape: Sequence[int], steps: Sequence[int], *others: Any
    ) -> Any:
        return Pickled(self._path, storage, offset, tuple(shape), tuple(steps))
