"""The order of a training's examples: by position, epoch after epoch, and by buckets."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grain
import numpy as np
from grain.experimental import index_shuffle

from jaxdiff.data.buckets import Bucket, Chosen, Turns
from jaxdiff.data.sources import Source


@dataclass(frozen=True)
class Stream:
    """The augmented examples of a run by position in the stream, epoch after epoch."""

    source: Source
    seed: int
    transforms: tuple[Any, ...]
    shuffle: bool
    shape: tuple[int, ...]

    def record(self, position: int) -> int:
        """Returns the index in the source of the example at a position."""
        epoch, index = divmod(position, len(self.source))
        if not self.shuffle:
            return index
        last = len(self.source) - 1
        return index_shuffle(index, max_index=last, seed=_hash(self.seed, epoch), rounds=4)

    def shape_at(self, position: int) -> tuple[int, ...]:
        """Returns the shape of the example at a position, the same at all."""
        return self.shape

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Returns the example at a position; its augmentation depends on seed and position.

        Raises:
            ValueError: "x" has another shape than source and transforms declare.
        """
        record, rng = self.record(position), None
        if draw := getattr(self.source, "draw", None):
            rng = np.random.default_rng((self.seed, position))
            example = draw(record, rng)
        else:
            example = self.source[record]
        for transform in self.transforms:
            if isinstance(transform, grain.transforms.RandomMap):
                rng = rng or np.random.default_rng((self.seed, position))
                example = transform.random_map(example, rng)
            else:
                example = transform.map(example)
        if example["x"].shape != (shape := self.shape_at(position)):
            raise ValueError(
                f"record {record}: x has shape {example['x'].shape}, not {shape} "
                "as the source and the transforms declare"
            )
        return {**example, "record": record}


@dataclass(frozen=True)
class BucketStream(Stream):
    """A stream in which the examples of a global batch are of one bucket, and of one shape."""

    batch_size: int = 1
    turns: Turns = field(default_factory=lambda: Turns((1,), 0))

    def record(self, position: int) -> int:
        """Returns the index in the source of the example at a position."""
        batch, place = divmod(position, self.batch_size)
        number, turn = self.turns(batch)
        indices: Sequence[int] = self.buckets[number].indices
        epoch, index = divmod(turn * self.batch_size + place, len(indices))
        seed = _hash(self.seed, epoch * len(self.buckets) + number)
        return indices[index_shuffle(index, max_index=len(indices) - 1, seed=seed, rounds=4)]

    def shape_at(self, position: int) -> tuple[int, ...]:
        """Returns the shape of the example at a position."""
        shape = self.buckets[self.turns(position // self.batch_size)[0]].shape
        for transform in self.transforms:
            shape = transform.shape(shape) if hasattr(transform, "shape") else shape
        return shape

    @property
    def buckets(self) -> Sequence[Bucket]:
        """Returns the source's buckets."""
        return getattr(self.source, "buckets")  # noqa: B009 - of some sources only


def in_buckets(stream: Stream, batch_size: int, trains: bool) -> Stream:
    """Returns the stream by buckets; of passes over the data, a stream of the first bucket."""
    fields = {f.name: getattr(stream, f.name) for f in dataclasses.fields(Stream)}
    source: Any = stream.source
    if not trains:
        return Stream(**{**fields, "source": Chosen(source, source.buckets[0])})
    turns = Turns(tuple(bucket.share for bucket in source.buckets), stream.seed)
    return BucketStream(**fields, batch_size=batch_size, turns=turns)


@functools.lru_cache(maxsize=16)
def _hash(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
