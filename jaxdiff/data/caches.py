"""Caches of what frozen encoders make of examples, as in configs: `"Cache(examples=20000)"`.

A cache is a folder of shards in array_record. A record is one example: its arrays one after the
other, in the layout that cache.json describes, and then its texts as JSON. A shard is whole or
absent, so that an interrupted cache goes on where it was.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import ml_dtypes  # noqa: F401 - gives NumPy the name "bfloat16"
import numpy as np

from jaxdiff.files import atomic_write
from jaxdiff.options import Count, FloatType, Size, checked

logger = logging.getLogger(__name__)

DESCRIPTION = "cache.json"
Example = Mapping[str, Any]


@checked
@dataclass(frozen=True)
class Cache:
    """What frozen weights make of the examples, computed before the first step, and kept.

    Kept are the distribution of an image's latents, of which each step draws a sample, and the
    states of texts: the objective is the same as without a cache, but for `dtype`.

    Attributes:
        folder: where caches are; each has a folder named by a hash of the weights, the transforms
            and the data in it. "" for the user's cache folder.
        examples: how many: the first of the training's stream, epoch after epoch, augmented; 0 for
            as many as the data have. More than these are several augmentations of each; fewer,
            a part of data that are made from an index without an end.
        dtype: of the numbers; "float16" halves the files.
        shard: examples in a file.
    """

    folder: str = ""
    examples: Count = 0
    dtype: FloatType = "float32"
    shard: Size = 1024


KIND = Cache
"""The kind of objects that the names of this module build."""


@dataclass(frozen=True)
class Layout:
    """The form of a record: arrays by name with their types and shapes, and the names of texts."""

    arrays: tuple[tuple[str, str, tuple[int, ...]], ...]
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, example: Example, dtype: str) -> "Layout":
        """Returns the layout of an example; numbers with a fraction become `dtype`."""
        arrays, texts = [], []
        for name, value in example.items():
            column = np.asarray(value)
            if column.dtype.kind == "U":
                texts.append(name)
            else:
                kind = dtype if column.dtype.kind == "f" else str(column.dtype)
                arrays.append((name, kind, column.shape))
        return cls(tuple(arrays), tuple(texts))

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "Layout":
        """Returns the layout that JSON gave back."""
        arrays = tuple((name, kind, tuple(shape)) for name, kind, shape in table["arrays"])
        return cls(arrays, tuple(table["texts"]))

    @property
    def size(self) -> int:
        """Returns the bytes of the arrays of one record."""
        return sum(_bytes(kind, shape) for _, kind, shape in self.arrays)

    def pack(self, example: Example) -> bytes:
        """Returns one example as a record."""
        parts = [np.asarray(example[name]).astype(kind).tobytes() for name, kind, _ in self.arrays]
        texts = {name: str(example[name]) for name in self.texts}
        return b"".join((*parts, json.dumps(texts).encode()))

    def unpack(self, record: bytes) -> dict[str, Any]:
        """Returns the example of a record; numbers with a fraction are float32 again."""
        found, begin = {}, 0
        for name, kind, shape in self.arrays:
            array = np.frombuffer(record, np.dtype(kind), int(np.prod(shape)), begin)
            begin += array.nbytes
            whole = array.dtype.kind in "biu"
            found[name] = (array if whole else array.astype(np.float32)).reshape(shape)
        return {**found, **json.loads(record[begin:])}


class CachedExamples:
    """The examples of a cache as a source: `source[i]` is example i of the stream it was made from.

    Raises:
        ValueError: shards are missing or damaged; names the first.
    """

    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None

    def __init__(self, folder: Path, layout: Layout, num: int, shard: int):
        paths = [shard_path(folder, i) for i in range(-(-num // shard))]
        if bad := [path for path in paths if count(path) != shard]:
            raise ValueError(f"{bad[0]} is missing or damaged: make the cache again")
        from array_record.python import array_record_data_source as arrays  # noqa: PLC0415

        self._records = arrays.ArrayRecordDataSource([f"{p}[0:{shard}]" for p in paths])
        self.folder, self._layout, self._num = folder, layout, num
        self.shape: tuple[int | None, ...] = next(
            shape for name, _, shape in layout.arrays if _is_x(name)
        )

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        if not 0 <= int(index) < self._num:
            raise IndexError(index)
        example = self._layout.unpack(self._records[int(index)])
        return {"x": example[next(filter(_is_x, example))], **example}


def shard_path(folder: Path, index: int) -> Path:
    """Returns the file of a shard."""
    return folder / f"{index:05d}.array_record"


def count(path: Path) -> int:
    """Returns how many records a shard holds, 0 if it is missing or damaged."""
    from array_record.python import array_record_module as records  # noqa: PLC0415

    if not path.exists():
        return 0
    try:
        reader = records.ArrayRecordReader(os.fspath(path))
        found = reader.num_records()
        reader.close()
    except RuntimeError as error:
        logger.warning("%s is damaged, and is made again: %s", path, str(error)[:120])
        return 0
    return found


def write_shard(path: Path, layout: Layout, examples: Iterable[Example]) -> None:
    """Writes a shard, whole or not at all.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    from array_record.python import array_record_module as records  # noqa: PLC0415

    with atomic_write(path) as draft:
        try:
            # Each record for itself, for reading in any order; noise does not compress.
            writer = records.ArrayRecordWriter(os.fspath(draft), "group_size:1,uncompressed")
            for example in examples:
                writer.write(layout.pack(example))
            writer.close()
        except RuntimeError as error:
            raise OSError(f"{path} cannot be written: {error}") from error


def rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the examples of a batch."""
    num = len(next(iter(columns.values())))
    return [{name: column[i] for name, column in columns.items()} for i in range(num)]


def _bytes(kind: str, shape: Sequence[int]) -> int:
    return int(np.prod(shape)) * np.dtype(kind).itemsize


def _is_x(name: str) -> bool:
    return name == "x" or name.startswith("x.")
