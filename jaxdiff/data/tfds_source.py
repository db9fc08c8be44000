"""TFDS data sets as sources: prepared once, and decoded in memory if they are small."""

import contextlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import tensorflow_datasets as tfds

from jaxdiff.data import datasets
from jaxdiff.data.images import MODES, decode

MEMORY_BYTES = 256 * 2**20
"""Data sets up to this decoded size are decoded once and kept in memory."""


class TfdsSource:
    """One split of a prepared TFDS data set with an image feature and, if present, a class label.

    `fields` are the names of further features that examples have: texts, images, numbers. A
    builder's own `FIELDS` are there without being asked for.

    Raises:
        ValueError: the split is unknown, no feature is an image of 8 bits a channel, or there is no
            feature of a field's name.
    """

    def __init__(
        self,
        name: str,
        builder: tfds.core.DatasetBuilder,
        split: str,
        fields: Sequence[str] | None = None,
    ):
        features: Any = builder.info.features
        self._name = f"{name} {split}"
        self._image = _feature(features, tfds.features.Image, "image")
        self._label = _feature(features, tfds.features.ClassLabel, "label")
        if self._image is None or features[self._image].np_dtype != np.uint8:
            raise ValueError(f"{name}: has no image of 8 bits a channel, but {sorted(features)}")
        self.shape = tuple(features[self._image].shape)
        if self.shape[-1] not in MODES:
            raise ValueError(f"{name}: images have {self.shape[-1]} channels; known: 1, 3, 4")
        self.num_classes = features[self._label].num_classes if self._label else None
        self.class_names = tuple(features[self._label].names) if self._label else None
        self.attribution = getattr(builder, "ATTRIBUTION", "")
        fields = getattr(builder, "FIELDS", ()) if fields is None else fields
        if unknown := [field for field in fields if field not in features]:
            raise ValueError(f"{name}.fields: there is no {unknown}; known: {sorted(features)}")
        self._fields = {field: features[field] for field in fields if field != self._image}
        try:
            self._records = builder.as_data_source(
                split,
                decoders={
                    field: tfds.decode.SkipDecoding()
                    for field, feature in {
                        **self._fields,
                        self._image: features[self._image],
                    }.items()
                    if isinstance(feature, tfds.features.Image)
                },
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error} Slices such as 'train[:10%]' work too.") from None

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return self._example(index, self._records[index])

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Returns many examples, read together."""
        records = self._records.__getitems__(indices)
        return [self._example(i, record) for i, record in zip(indices, records, strict=True)]

    def _example(self, index: SupportsIndex, record: dict[str, Any]) -> dict[str, Any]:
        where = f"{self._name}, record {index}"
        example = {"x": decode(io.BytesIO(record[self._image]), self.shape[-1], where)}
        if self._label:
            example["label"] = int(record[self._label])
        for field, feature in self._fields.items():
            example[field] = _value(feature, record[field], where)
        return example


class InMemory:
    """Keeps all examples of a source in memory after the first use.

    The examples are not pickled: a worker process decodes them again.
    """

    def __init__(self, source: TfdsSource):
        self._source = source
        self.shape = source.shape
        self.num_classes = source.num_classes
        self.class_names = source.class_names
        self.attribution = source.attribution
        self._examples = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        with self._lock:
            if self._examples is None:
                self._examples = self._source.__getitems__(range(len(self)))
        return self._examples[index]

    def __reduce__(self) -> tuple:
        return InMemory, (self._source,)


def open_tfds(
    name: str,
    make: Callable[..., tfds.core.DatasetBuilder],
    split: str,
    *,
    data_dir: str | PathLike | None = None,
    fields: Sequence[str] | None = None,
    **options: Any,
) -> TfdsSource | InMemory:
    """Returns a split of the data set that `make(data_dir=..., **options)` builds.

    Raises:
        ValueError: as `TfdsSource` does.
    """
    options |= {"data_dir": data_dir and str(data_dir), "file_format": "array_record"}
    source = TfdsSource(name, _prepared(lambda: make(**options)), split, fields)
    if None in source.shape:
        return source
    example_size = int(np.prod(source.shape)) + 512  # 512 bytes of Python objects an example
    return InMemory(source) if len(source) * example_size <= MEMORY_BYTES else source


def _prepared(make: Callable[[], tfds.core.DatasetBuilder]) -> tfds.core.DatasetBuilder:
    """Returns a builder with its data on disk; only one of several processes prepares them."""
    builder = make()
    if builder.data_path.exists():
        return builder
    with _locked(builder.data_dir):
        builder = make()  # another process may have prepared it meanwhile
        local = type(builder).__module__.startswith(datasets.__name__)
        with _without_progress_bar() if local else contextlib.nullcontext():
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=not local)
            )
    return builder


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    import fcntl  # noqa: PLC0415  Unix only, as is array_record

    if "://" in folder:  # a bucket has no locks
        yield
        return
    path = Path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _without_progress_bar() -> Iterator[None]:
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        tfds.enable_progress_bar()


def _feature(features: Any, kind: type, preferred: str) -> str | None:
    """Returns the name of a feature of this type, preferably `preferred`; None without one."""
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    return preferred if preferred in found else next(iter(found), None)


def _value(feature: Any, value: Any, where: str) -> Any:
    """Returns the value of a further feature: text, pixels, or a number or an array of them."""
    if isinstance(feature, tfds.features.Image):
        return decode(io.BytesIO(value), feature.shape[-1], where)
    return value.decode() if isinstance(value, bytes) else value
