"""Examples of several shapes in one training: aspect ratios of images, lengths of clips.

Each batch is of one bucket, whose examples have one shape, so that there is a compiled program for
each shape and no padding. Buckets take turns in a fixed random round.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, SupportsIndex

import numpy as np
from PIL import Image, ImageOps

from jaxdiff.data.images import from_pillow, to_pillow
from jaxdiff.options import Filled, Size, Width

Part = Mapping[str, Any]
Side = Annotated[Sequence[Width], Filled(2)]
ROUND = 64
"""Batches of a round, about, where shares follow from the sizes of buckets."""


@dataclass(frozen=True)
class Bucket:
    """Examples of one shape: their indices in the source, and its batches in a round."""

    shape: tuple[int, ...]
    indices: Sequence[int]
    share: int


class Buckets:
    """Data sets of several shapes, or one data set of images by their aspect ratios.

    Parts are buckets, such as clips and images, which are clips of one frame:

        data.of = ({"name": "moving_scenes", "frames": 9}, {"name": "moving_scenes", "frames": 1})
        data.shares = (3, 1)

    or sizes: each image of one folder is scaled and cropped to the size with the nearest aspect
    ratio (Podell et al., 2023, appendix I):

        data.of = ({"name": "image_folder", "folder": "mine"},)
        data.sizes = ((256, 256), (192, 320), (320, 192))

    Of each round of sum(shares) batches, bucket k has `shares[k]`; by default as many as it has
    examples. The first bucket has `data.shape`, and is the one of samples and evaluations.

    Raises:
        ValueError: a part has no name, there is no share for each bucket, there are sizes for
            several parts or for data of one size, or no image suits the first size.
    """

    def __init__(
        self,
        split: str,
        of: Annotated[Sequence[Part], Filled()],
        shares: Sequence[Size] = (),
        sizes: Sequence[Side] = (),
    ):
        from jaxdiff.data.sources import open_source  # noqa: PLC0415 - it lists this class

        if bad := [dict(part) for part in of if "name" not in part]:
            raise ValueError(f"buckets: {bad[0]} has no name of a data set")
        options = [{k: v for k, v in part.items() if k != "name"} for part in of]
        self._parts = [
            open_source(part["name"], split, **rest) for part, rest in zip(of, options, strict=True)
        ]
        self._begins = np.cumsum([0, *(len(part) for part in self._parts)])
        self._sizes = [tuple(size) for size in sizes]
        groups = self._by_aspect() if sizes else self._by_part()
        if shares and len(shares) != len(groups):
            raise ValueError(f"buckets: shares={tuple(shares)} of {len(groups)} buckets")
        weights = [len(indices) for _, indices in groups]
        shares = shares or [max(round(ROUND * n / sum(weights)), 1) for n in weights]
        self.buckets = [
            Bucket(shape, indices, share)
            for (shape, indices), share in zip(groups, shares, strict=True)
            if len(indices)
        ]
        first = self._parts[0]
        self.shape = self.buckets[0].shape
        self.num_classes, self.class_names = first.num_classes, first.class_names
        self.attribution = getattr(first, "attribution", "")

    def __len__(self) -> int:
        return int(self._begins[-1])

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        part, place = self._place(index)
        return self._fitted(part[place])

    def draw(self, index: SupportsIndex, rng: np.random.Generator) -> dict[str, Any]:
        """Returns an example, with what is random of it, where a part has that."""
        part, place = self._place(index)
        return self._fitted(part.draw(place, rng) if hasattr(part, "draw") else part[place])

    def _place(self, index: SupportsIndex) -> tuple[Any, int]:
        index = range(len(self))[index]
        part = int(np.searchsorted(self._begins, index, side="right")) - 1
        return self._parts[part], index - int(self._begins[part])

    def _fitted(self, example: dict[str, Any]) -> dict[str, Any]:
        if not self._sizes:
            return example
        x = example["x"]
        height, width = self._sizes[self._nearest(x.shape[0], x.shape[1])]
        fitted = ImageOps.fit(to_pillow(x), (width, height), Image.Resampling.LANCZOS)
        return {**example, "x": from_pillow(fitted)}

    def _by_part(self) -> list[tuple[tuple[int, ...], Sequence[int]]]:
        for part in self._parts:
            if None in part.shape:
                raise ValueError(f"buckets: a part has examples of varying size {part.shape}")
        begins = self._begins.tolist()
        return [
            (tuple(part.shape), range(begins[k], begins[k + 1]))
            for k, part in enumerate(self._parts)
        ]

    def _by_aspect(self) -> list[tuple[tuple[int, ...], Sequence[int]]]:
        (part, *more) = self._parts
        if more or not hasattr(part, "size"):
            raise ValueError(
                "buckets.sizes: of one data set that knows its images' sizes, a folder"
            )
        where = np.array([self._nearest(*part.size(i)) for i in range(len(part))])
        if not (where == 0).any():
            raise ValueError(f"buckets.sizes: no image is nearest to the first, {self._sizes[0]}")
        channels = part.shape[-1]
        return [
            ((*size, channels), np.flatnonzero(where == k).tolist())
            for k, size in enumerate(self._sizes)
        ]

    def _nearest(self, height: int, width: int) -> int:
        """Returns which size has the aspect ratio that is the nearest, in its logarithm."""
        aspect = lambda h, w: math.log(h / w)
        away = [abs(aspect(*size) - aspect(height, width)) for size in self._sizes]
        return int(np.argmin(away))


@dataclass(frozen=True)
class Turns:
    """Which bucket a batch is of, and which batch of that bucket it is.

    The order within a round is random and the same in every round, by the seed.
    """

    shares: tuple[int, ...]
    seed: int

    @functools.cached_property
    def round(self) -> tuple[int, ...]:
        """Returns the bucket of each batch of a round."""
        each = [k for k, share in enumerate(self.shares) for _ in range(share)]
        return tuple(np.random.default_rng((self.seed, len(each))).permutation(each).tolist())

    def __call__(self, batch: int) -> tuple[int, int]:
        """Returns the bucket of a batch of the training, and its number among the bucket's."""
        turn, place = divmod(batch, len(self.round))
        bucket = self.round[place]
        return bucket, turn * self.shares[bucket] + self.round[:place].count(bucket)


@dataclass(frozen=True)
class Chosen:
    """The examples of one bucket, as a source."""

    source: Buckets
    bucket: Bucket

    def __len__(self) -> int:
        return len(self.bucket.indices)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return self.source[self.bucket.indices[index]]

    def draw(self, index: SupportsIndex, rng: np.random.Generator) -> dict[str, Any]:
        """Returns an example, with what is random of it."""
        return self.source.draw(self.bucket.indices[index], rng)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Returns the shape of an example."""
        return self.bucket.shape

    @property
    def num_classes(self) -> int | None:
        """Returns the number of classes."""
        return self.source.num_classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Returns the names of classes."""
        return self.source.class_names
