"""Data sets as sequences of examples.

A source has `len(source)`, `source[i] -> {"x": ..., "label": int}` (no "label" in unlabelled data)
and the attributes `shape` of one x (None for a side that varies), `num_classes` and `class_names`
(None without labels). An x is an image, uint8 [h, w, c], a clip, uint8 [frames, h, w, c], or a
point, float32 [d]. Any object of this form can be trained on. A source may have an `attribution`,
the words that its license wants beside what is made of it; and `draw(i, rng)`, an example of which
a part is random, such as a window of a clip, which training sees instead of `source[i]`.
"""

import functools
import importlib
import inspect
import pkgutil
import re
import zlib
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np
import tensorflow_datasets as tfds

from jaxdiff.config.build import names, suggest
from jaxdiff.data import datasets, toy
from jaxdiff.data.array_file import ArrayFile
from jaxdiff.data.buckets import Buckets
from jaxdiff.data.clip_folder import ClipFolder
from jaxdiff.data.image_folder import ImageFolder
from jaxdiff.data.mixture import Mixture
from jaxdiff.data.moving_digits import MovingDigits
from jaxdiff.data.scenes.character import EmojiCharacter
from jaxdiff.data.scenes.moving import MovingScenes
from jaxdiff.data.scenes.still import EmojiScenes
from jaxdiff.data.tfds_source import open_tfds
from jaxdiff.data.votes import Votes
from jaxdiff.options import Count, Size, check, taken

OURS = {
    "image_folder": ImageFolder,
    "clip_folder": ClipFolder,
    "moving_digits": MovingDigits,
    "emoji_scenes": EmojiScenes,
    "moving_scenes": MovingScenes,
    "emoji_character": EmojiCharacter,
    "votes": Votes,
    "array_file": ArrayFile,
    "mixture": Mixture,
    "buckets": Buckets,
}
"""Sources by name that are not TFDS builders."""


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

    `name` is a module of `jaxdiff.data.datasets` ("digits"), one of `OURS` ("image_folder"), a
    density of `jaxdiff.data.toy` ("two_moons"), any name that TFDS knows ("cifar10",
    "mnist:3.0.1"), or `"module:name"` of a TFDS builder or of a function
    `(split, **options) -> Source`.

    TFDS data sets are prepared on first use, below the option `data_dir`; their splits may be
    slices ("train[:10%]"), and the option `fields` names further features. Toys take `size`,
    `seed` and the density's own options.

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
    if name in OURS:
        return _call(name, OURS[name], split=split, **options)
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


def _open_tfds(name: str, make: Callable, split: str, **options: Any) -> Source:
    """Opens a data set of TFDS, whose builder has checked options."""
    ours = {k: v for k, v in options.items() if k in ("data_dir", "fields")}
    check("fields", Sequence[str] | None, ours.get("fields"))
    rest = {k: v for k, v in options.items() if k not in ours}
    made = lambda **more: _call(name, make, **rest, **more)
    return open_tfds(name, made, split, **ours)


def _check_tfds_name(name: str, data_dir: str | PathLike | None) -> None:
    head = re.split("[/:]", name)[0]
    own = [*local_builders(), *OURS, *names(toy)]
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
