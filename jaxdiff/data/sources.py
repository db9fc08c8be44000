"""Data sets as sequences of examples.

A source has `len(source)`, `source[i] -> {"x": ..., "label": int}` (no "label" in unlabelled data)
and the attributes `shape` of one x (None for a side that varies), `num_classes` and `class_names`
(None without labels). An x is an image, uint8 [h, w, c], a clip, uint8 [frames, h, w, c], or a
point, float32 [d]. Any object of this form can be trained on.
"""

import contextlib
import functools
import importlib
import inspect
import io
import pkgutil
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np
import tensorflow_datasets as tfds

from jaxdiff.config.build import names, suggest
from jaxdiff.data import datasets, toy
from jaxdiff.data.image_folder import ImageFolder
from jaxdiff.data.images import MODES, decode
from jaxdiff.data.moving_digits import MovingDigits
from jaxdiff.options import Count, Size, taken

FOLDERS_AND_CLIPS = {"image_folder": ImageFolder, "moving_digits": MovingDigits}
"""Sources by name that are not TFDS builders."""

MEMORY_BYTES = 256 * 2**20
"""Data sets up to this decoded size are decoded once and kept in memory."""


@runtime_checkable
class Source(Protocol):
    """A sequence of examples, with their shape and their classes."""

    shape: tuple[int | None, ...]
    num_classes: int | None
    class_names: tuple[str, ...] | None

    def __len__(self) -> int:
        """Returns the number of examples."""

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Returns one example."""


def open_source(name: str, split: str, **options: Any) -> Source:
    """Opens a data set by name.

    `name` is a module of `jaxdiff.data.datasets` ("digits"), "image_folder", "moving_digits", a
    density of `jaxdiff.data.toy` ("two_moons"), any name that TFDS knows ("cifar10",
    "mnist:3.0.1"), or `"module:name"` of a TFDS builder or of a function
    `(split, **options) -> Source`.

    TFDS data sets are prepared on first use, below the option `data_dir`; their splits may be
    slices ("train[:10%]"). Toys take `size`, `seed` and the density's own options.

    Raises:
        ValueError: the name, the split or an option is unknown, or the module cannot be imported.
        FileNotFoundError: a folder or a file of the data set is missing.
    """
    module, _, attribute = name.partition(":")
    if attribute.isidentifier():
        try:
            target = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"data.name={name!r}: {error}; "
                "name a source of your own as module:function, from a module that can be imported"
            ) from error
        if inspect.isclass(target) and issubclass(target, tfds.core.DatasetBuilder):
            return _open_tfds(name, target, split, **options)
        if not _takes_split(target):
            raise ValueError(
                f"data.name={name!r} is neither a TFDS builder nor a class or function (split, ...)"
            )
        return _checked(name, _call(name, target, split=split, **options))
    if name in FOLDERS_AND_CLIPS:
        return _call(name, FOLDERS_AND_CLIPS[name], split=split, **options)
    if name in names(toy):
        return _call(name, Toy, density=name, split=split, **options)
    if name in local_builders():
        importlib.import_module(f"{datasets.__name__}.{name}")
        return _open_tfds(name, tfds.builder_cls(name), split, **options)
    _check_tfds_name(name, options.get("data_dir"))
    return _open_tfds(name, lambda **rest: tfds.builder(name, **rest), split, **options)


def local_builders() -> list[str]:
    """Lists the TFDS builders of `jaxdiff.data.datasets`."""
    return [module.name for module in pkgutil.iter_modules(datasets.__path__)]


class Toy:
    """Points drawn from a toy density; point i does not depend on `size`.

    Raises:
        ValueError: the split is neither train nor test.
    """

    def __init__(
        self, density: str, split: str, *, size: Size = 100_000, seed: Count = 0, **options: Any
    ):
        if split not in ("train", "test"):
            raise ValueError(f"{density}: unknown split {split!r}; known: train, test")
        draw = functools.partial(getattr(toy, density), **options)
        random = np.random.default_rng((seed, zlib.crc32(split.encode())))
        x, self._labels = draw(random.random((size, 4)))
        self._x = x.astype(np.float32)
        self.shape = self._x.shape[1:]
        _, last = draw(np.full((1, 4), 1 - 2**-53))  # the label grows with the first number
        self.num_classes = None if last is None else int(last[0]) + 1
        self.class_names = None if last is None else tuple(map(str, range(self.num_classes)))

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        x = {"x": self._x[index]}
        return x if self._labels is None else {**x, "label": int(self._labels[index])}


class TfdsSource:
    """One split of a prepared TFDS data set with an image feature and, if present, a class label.

    Raises:
        ValueError: the split is unknown, or no feature is an image of 8 bits a channel.
    """

    def __init__(self, name: str, builder: tfds.core.DatasetBuilder, split: str):
        features = builder.info.features
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
        try:
            self._records = builder.as_data_source(
                split, decoders={self._image: tfds.decode.SkipDecoding()}
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
        file = io.BytesIO(record[self._image])
        x = decode(file, self.shape[-1], f"{self._name}, record {index}")
        return {"x": x, "label": int(record[self._label])} if self._label else {"x": x}


class InMemory:
    """Keeps all examples of a source in memory after the first use.

    The examples are not pickled: a worker process decodes them again.
    """

    def __init__(self, source: TfdsSource):
        self._source = source
        self.shape = source.shape
        self.num_classes = source.num_classes
        self.class_names = source.class_names
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


def _open_tfds(
    name: str, make: Callable, split: str, *, data_dir: str | PathLike | None = None, **options: Any
) -> Source:
    options |= {"data_dir": data_dir and str(data_dir), "file_format": "array_record"}
    source = TfdsSource(name, _prepared(lambda: _call(name, make, **options)), split)
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


def _check_tfds_name(name: str, data_dir: str | PathLike | None) -> None:
    head = re.split("[/:]", name)[0]
    own = [*local_builders(), *FOLDERS_AND_CLIPS, *names(toy)]
    known = own + tfds.list_builders(with_community_datasets=False)
    prepared = data_dir is not None and (Path(data_dir) / head).is_dir()
    if head not in known and not prepared:
        hint = suggest(name, known)
        hint = hint if "did you mean" in hint else ""
        raise ValueError(
            f"unknown data set {name!r}{hint}; known here: {', '.join(own)}, and all of TFDS"
        )


def _takes_split(target: Any) -> bool:
    """Whether a class or a function of Python has an argument `split`."""
    known = inspect.isclass(target) or inspect.isfunction(target)
    return known and "split" in inspect.signature(target).parameters


def _checked(name: str, source: Any) -> Source:
    """Returns a person's own source, if it has all that a source needs."""
    needed = ("__len__", "__getitem__", "shape", "num_classes", "class_names")
    if missing := [each for each in needed if not hasattr(source, each)]:
        raise ValueError(
            f"data.name={name!r} made a {type(source).__name__}, which lacks {missing}"
        )
    return source


def _call(name: str, target: Callable, **options: Any) -> Any:
    """Calls `target` with checked options.

    Raises:
        ValueError: an option is missing or unknown, or of a wrong type or range; names the data
            set.
    """
    known = dict(inspect.signature(target).parameters)
    if target is Toy:
        known |= inspect.signature(getattr(toy, options["density"])).parameters
    for option, value in options.items():
        kind = known[option].annotation if option in known else Any
        options[option] = taken(f"{name}.{option}", kind, value)
    try:
        return target(**options)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ValueError(f"{name}: {error}") from error
