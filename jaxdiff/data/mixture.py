"""Several data sets as one, each for its share: a few pictures of a thing, and many of its class.

DreamBooth (Ruiz et al. 2023) is such a mixture: pictures of one thing under a word that is new, and
as many samples of the model itself under the word of its class, which keep what it knows of it.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Annotated, Any, SupportsIndex

from jaxdiff.options import Filled, Size

Part = Mapping[str, Any]


class Mixture:
    """Data sets in turn: of each round of sum(shares) examples, the k-th gives `shares[k]`.

        data.of = ({"name": "image_folder", "folder": "mine", "text": "a picture of a blorb"},
                   {"name": "array_file", "file": "prior.npy", "text": "a picture of an animal"})

    A part is a data set with its options; "text" is a caption for all of its examples. The smaller
    ones are repeated, so that an epoch has each example at least once. Where parts differ in shape,
    transforms must fix it.

    Raises:
        ValueError: a part has no name, there is no share for each, or channels or classes differ.
    """

    def __init__(
        self,
        split: str,
        of: Annotated[Sequence[Part], Filled()],
        shares: Sequence[Size] = (),
    ):
        from jaxdiff.data.sources import open_source  # noqa: PLC0415 - it lists this class

        self._shares = tuple(shares) or (1,) * len(of)
        if len(self._shares) != len(of):
            raise ValueError(f"mixture: shares={self._shares} of {len(of)} data sets")
        parts, self._texts = [], []
        for k, part in enumerate(of):
            options = dict(part)
            if "name" not in options:
                raise ValueError(f"mixture: of[{k}]={options} has no name of a data set")
            self._texts.append(options.pop("text", None))
            name, own = options.pop("name"), options.pop("split", split)
            parts.append(open_source(name, own, **options))
        self._parts = parts
        self._round = [k for k, share in enumerate(self._shares) for _ in range(share)]
        shapes = {tuple(part.shape) for part in parts}
        if len({(len(shape), shape[-1]) for shape in shapes}) > 1:
            raise ValueError(f"mixture: examples of shapes {sorted(map(str, shapes))}")
        (first, *rest) = shapes
        self.shape = first if not rest else (*[None] * (len(first) - 1), first[-1])
        if len({part.num_classes for part in parts}) > 1:
            raise ValueError(f"mixture: classes {[part.num_classes for part in parts]} differ")
        self.num_classes, self.class_names = parts[0].num_classes, parts[0].class_names

    def __len__(self) -> int:
        longest = max(
            ceil(len(part) / share) for part, share in zip(self._parts, self._shares, strict=True)
        )
        return longest * len(self._round)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        turn, place = divmod(range(len(self))[index], len(self._round))
        k = self._round[place]
        part, share = self._parts[k], self._shares[k]
        example = part[(turn * share + place - self._round.index(k)) % len(part)]
        text = self._texts[k]
        return example if text is None else {**example, "text": text}
