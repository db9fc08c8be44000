"""A file of arrays as a data set: images, clips or points of one's own, or samples of a run."""

from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from jaxdiff.options import Count, Share

TYPES = "uint8 for images and clips, float32 for values in [-1, 1] or points"


class ArrayFile:
    """A .npy or .npz file; examples are read from it one by one, and memory holds no more.

    A .npy has the examples "x" along its first axis, as `sample.py --out=samples.npy` writes them;
    a .npz may have "label", "text" and other fields of the same length. Values are uint8, or
    floats: images in [-1, 1], or points. "test" has every `1/test_fraction`-th example, "train" the
    others, "all" each one.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it holds no arrays of examples, or of several lengths; the split is unknown.
    """

    def __init__(
        self,
        split: str,
        file: str | PathLike,
        *,
        classes: Count = 0,
        test_fraction: Share = 0.1,
    ):
        path = Path(file)
        if not path.is_file():
            raise FileNotFoundError(f"array_file: file={str(file)!r} is not a file")
        if split not in ("train", "test", "all"):
            raise ValueError(f"{path}: unknown split {split!r}; known: train, test, all")
        self._fields = _read(path)
        x = self._fields["x"]
        lengths = {name: len(values) for name, values in self._fields.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{path}: fields of several lengths: {lengths}")
        every = round(1 / test_fraction) if test_fraction else len(x) + 1
        held_out = np.arange(len(x)) % every == every - 1
        chosen = {"all": held_out | True, "test": held_out, "train": ~held_out}[split]
        self._records = np.flatnonzero(chosen)
        if not len(self._records):
            raise ValueError(f"{path}: no examples in split {split!r} of {len(x)}")
        self.shape = x.shape[1:]
        self.num_classes = classes or None
        self.class_names = tuple(map(str, range(classes))) or None

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        record = self._records[index]
        example = {name: values[record] for name, values in self._fields.items()}
        x = np.array(example["x"])
        example["x"] = x if x.dtype == np.uint8 else x.astype(np.float32)
        return example


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} holds no arrays of numbers: {error}") from None
    fields = {"x": found} if isinstance(found, np.ndarray) else dict(found)
    x = fields.get("x")
    if x is None or x.ndim < 2 or x.dtype.kind not in "fu":
        kind = "no x" if x is None else f"an x of shape {x.shape} and type {x.dtype}"
        raise ValueError(f"{path} has {kind}; examples lie along the first axis, {TYPES}")
    if x.dtype.kind == "u" and x.dtype != np.uint8:
        raise ValueError(f"{path}: x is of {x.dtype}: {TYPES}")
    return fields
