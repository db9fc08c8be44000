"""Batches whose order, augmentation and position depend on nothing but the seed.

The stream of a run is its data set, epoch by epoch, each in its own order. Global batch k of size
B holds the stream's positions k·B .. (k+1)·B - 1, and process p of P reads the p-th part of it. So
the position of a run is one number, k, and a run goes on exactly on another number of processes.
"""

import functools
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np
from absl import flags

from jaxdiff.config.build import build
from jaxdiff.data import transforms as family
from jaxdiff.data.sources import Source, open_source
from jaxdiff.data.streams import Stream, in_buckets

Prepare = Callable[[dict[str, np.ndarray]], dict[str, Any]]

PIXELS = ("x", "rejected")
"""Fields of examples whose bytes are pixels."""


def loader(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    transforms: Sequence[Any] = (),
    prepare: Prepare | None = None,
    shuffle: bool = True,
    epochs: int | None = None,
    drop_remainder: bool = False,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
) -> "Batches":
    """Returns an iterator over this process's part of each global batch, as numpy arrays.

    A batch holds "x", float32 [b, h, w, c] in [-1, 1] for images, else as the source has it;
    "label", int32 [b], where there are labels; "record", int64 [b], the indices in the source;
    "position", int32 [b], each example's place in the global batch.
    Other fields of an example, such as "text", are stacked into arrays.

    Args:
        source: the examples.
        batch_size: number of examples in a global batch, over all processes.
        seed: seed of the order and of the augmentation; 0 or more.
        transforms: transforms of `jaxdiff.data.transforms` or of grain, as objects or specs.
        prepare: function applied to each finished batch, e.g. tokenization.
        shuffle: whether each epoch has a random order of its own; otherwise the source's order.
        epochs: number of passes over the source; None for no end.
        drop_remainder: whether to drop a last batch that is not full.
        process_index: index of this process.
        process_count: number of processes that read.
        workers: number of worker processes that make batches; with 0, threads make them, which
            suits data in memory.

    Raises:
        ValueError: an argument is out of range, or the images differ in shape.
    """
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index}: must be in 0..{process_count - 1}")
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size={batch_size} is over all processes: must be a positive multiple of "
            f"process_count={process_count}"
        )
    if seed < 0 or workers < 0 or (epochs is not None and epochs < 1):
        raise ValueError(
            f"seed={seed} and workers={workers} must be 0 or more, epochs={epochs} 1 or more"
        )
    transforms = _built(source, transforms)
    stream = Stream(source, seed, transforms, shuffle, output_shape(source, transforms))
    if hasattr(source, "buckets"):
        stream = in_buckets(stream, batch_size, trains=shuffle and epochs is None)
        source = stream.source
    length = sys.maxsize if epochs is None else epochs * len(source)
    whole, rest = divmod(length, batch_size)
    count = whole + (rest > 0 and not drop_remainder)
    part = Part(stream, length, batch_size, process_index, process_count, prepare)
    return Batches(functools.partial(_read_ahead, part, count, workers))


def open_data(data: Mapping[str, Any], split: str, transforms: Sequence[Any]) -> Source:
    """Opens `config.data`, and checks its shape and its number of classes.

    Raises:
        ValueError: after the transforms, the examples have another shape than `data["shape"]`, or
            the source has another number of classes than `data["num_classes"]`.
    """
    options = dict(data)
    shape, num_classes = tuple(options.pop("shape")), options.pop("num_classes")
    source = open_source(options.pop("name"), split, **options)
    found = output_shape(source, transforms)
    if found != shape:
        raise ValueError(f"data.shape={shape}, but after the transforms examples have {found}")
    if num_classes != (source.num_classes or 0):
        raise ValueError(
            f"data.num_classes={num_classes}, but the data have {source.num_classes or 0}"
        )
    return source


def output_shape(source: Source, transforms: Sequence[Any] = ()) -> tuple[int, ...]:
    """Returns the shape of one x after the transforms.

    Raises:
        ValueError: the shape varies from image to image, a crop is too large, or the source is
            empty.
    """
    shape = source.shape
    for transform in _built(source, transforms):
        shape = transform.shape(shape) if hasattr(transform, "shape") else shape
    if None in shape:
        raise ValueError(
            f"transforms={list(transforms)!r} leave images of varying size {shape}; "
            "end with Resize(size=64), CenterCrop(size=64), for example"
        )
    if not len(source):
        raise ValueError("the source holds no examples")
    return shape


def _built(source: Source, transforms: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(build(family, each, class_names=source.class_names) for each in transforms)


@dataclass(frozen=True)
class Part:
    """The part of each global batch that one process reads."""

    stream: Stream
    length: int
    batch_size: int
    process_index: int
    process_count: int
    prepare: Prepare | None = None

    def positions(self, batch: int) -> range:
        """Returns this process's positions in the stream; empty if a last batch is too short."""
        size = self.batch_size // self.process_count
        start = batch * self.batch_size + self.process_index * size
        return range(min(start, self.length), min(start + size, self.length))

    def __call__(self, batch: int) -> dict[str, Any]:
        """Reads this process's part of a global batch."""
        _end_with_parent()
        positions = self.positions(batch)
        examples = [self.stream[i] for i in positions or [batch * self.batch_size]]
        columns = {
            key: np.stack([e[key] for e in examples])[: len(positions)] for key in examples[0]
        }
        columns = {key: _cast(key, column) for key, column in columns.items()}
        place = [position - batch * self.batch_size for position in positions]
        columns["position"] = np.array(place, np.int32)
        return columns if self.prepare is None else self.prepare(columns)


class Batches(grain.DatasetIterator):
    """Iterator over batches, whose state is the number of global batches taken.

    The state, `{"batches": k}`, is JSON and restores on any number of processes and workers.
    """

    def __init__(self, start: Callable[[int], grain.DatasetIterator]):
        super().__init__()
        self._start = start
        self._taken = 0
        self._ahead = None

    def __next__(self) -> dict[str, Any]:
        self._open()
        batch = next(self._ahead)
        self._taken += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """Returns the number of batches taken."""
        return {"batches": self._taken}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continues after the given number of batches.

        Raises:
            ValueError: the state does not have the form that `get_state` returns.
        """
        taken = state.get("batches")
        if not isinstance(taken, int) or taken < 0:
            raise ValueError(f"{state!r} is no position; one is {{'batches': 0}}")
        self.close()
        self._taken = taken

    def start_prefetch(self) -> None:
        """Begins to read ahead before the first `next`."""
        self._open()
        self._ahead.start_prefetch()

    def close(self) -> None:
        """Stops reading ahead; the next `next` resumes at the same batch."""
        if getattr(self, "_ahead", None) is not None:
            self._ahead.close()
            self._ahead = None

    def _open(self) -> None:
        if self._ahead is None:
            self._ahead = self._start(self._taken)


def _read_ahead(part: Part, count: int, workers: int, start: int) -> grain.DatasetIterator:
    """Returns the batches from `start` on, read by threads or by worker processes."""
    batches = grain.MapDataset.range(start, max(start, count)).map(part)
    dataset = batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
    if not workers:
        return iter(dataset)
    if not flags.FLAGS.is_parsed():  # as in a notebook; grain hands its flags to the workers
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
    return iter(dataset.mp_prefetch(options))


@functools.cache
def _end_with_parent() -> None:
    """Ends a worker process when its parent ends, also by kill -9."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait():
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _cast(key: str, column: np.ndarray) -> np.ndarray:
    """Maps bytes to [-1, 1]; casts labels and records to their types."""
    if key in PIXELS and column.dtype == np.uint8:
        return column.astype(np.float32) / np.float32(127.5) - np.float32(1)
    types = {"label": np.int32, "record": np.int64}
    return column.astype(types.get(key, column.dtype))
