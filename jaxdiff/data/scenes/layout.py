"""The layout of a scene: groups of emoji, a relation between two of them, places, a ground."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdiff.data.scenes.paint import GROUNDS, Ground, Placed
from jaxdiff.data.scenes.sprites import COLOR_NAMES, NOUNS, is_held_out

RELATIONS = ("left of", "right of", "above", "below", "in front of", "behind")
MOST = 4
"""The most emoji of a scene."""

ALL = tuple(range(len(NOUNS)))
"""All kinds."""

SIDES = {1: (0.45, 0.8), 2: (0.32, 0.5), 3: (0.28, 0.42), 4: (0.26, 0.36)}
"""The range of an emoji's side, as a share of the frame's, by their number."""

TILT = 0.4
"""The most that an emoji is turned, in radians."""

GAP = 0.08
"""The gap between the centres of two groups across the middle, as a share of the frame's side."""


class Group(NamedTuple):
    """Some emoji of one kind and one colour."""

    kind: int
    color: int
    count: int


class Layout(NamedTuple):
    """A scene: its groups, the relation of the first to the second, its emoji, its ground.

    `relation` is an index in `RELATIONS`, or -1. `placed` goes from the farthest emoji to the
    nearest; `members` has the group of each.
    """

    groups: tuple[Group, ...]
    relation: int
    placed: tuple[Placed, ...]
    members: tuple[int, ...]
    ground: Ground


def draw_layout(
    rng: np.random.Generator, held_out: bool, kinds: Sequence[int] = ALL, most: int = MOST
) -> Layout:
    """Draws a scene of some kinds, with at most `most` emoji.

    With `held_out`, its first group is a pair that training never shows.
    """
    sizes = _sizes(rng, most)
    ground = draw_ground(rng)
    groups = draw_groups(rng, sizes, ground, held_out, kinds)
    relation = int(rng.integers(len(RELATIONS))) if len(groups) == 2 else -1
    if relation >= 0 and RELATIONS[relation] in ("in front of", "behind"):
        groups = tuple(group._replace(count=1) for group in groups)
        placed, members = _overlapping(rng, groups, first_in_front=relation == 4)
    else:
        placed, members = _apart(rng, groups, relation)
    return Layout(groups, relation, placed, members, ground)


def draw_ground(rng: np.random.Generator, kinds: tuple[str, ...] = GROUNDS) -> Ground:
    """Draws a ground; a checked one has white squares."""
    kind = kinds[rng.integers(len(kinds))]
    first, second = rng.choice(("white", *COLOR_NAMES), 2, replace=False)
    if kind == "checked":
        first, second = (second if first == "white" else first), "white"
    return Ground(kind, str(first), str(second), float(rng.uniform(0, 2 * math.pi)))


def draw_groups(
    rng: np.random.Generator,
    sizes: tuple[int, ...],
    ground: Ground,
    held_out: bool,
    among: Sequence[int] = ALL,
) -> tuple[Group, ...]:
    """Draws different kinds `among` some; no colour is one of the ground's."""
    kinds = np.asarray(among)[rng.choice(len(among), len(sizes), replace=False)]
    free = [i for i, name in enumerate(COLOR_NAMES) if name not in (ground.first, ground.second)]
    if held_out:
        # The one colour of a kind that is held out has to differ from the ground's.
        possible = [k for k in among if any(is_held_out(k, c) for c in free)]
        possible = [k for k in possible if k not in kinds[1:]]
        kinds[0] = possible[rng.integers(len(possible))]
    groups = []
    for place, (kind, count) in enumerate(zip(kinds, sizes, strict=True)):
        wanted = held_out and place == 0
        colors = [c for c in free if is_held_out(int(kind), c) == wanted]
        groups.append(Group(int(kind), colors[rng.integers(len(colors))], count))
    return tuple(groups)


def _sizes(rng: np.random.Generator, most: int) -> tuple[int, ...]:
    """Returns the numbers of emoji: of one group (35 %), two (50 %), or three single ones.

    There are as many groups as `most` allows.
    """
    choice = rng.random()
    if choice < 0.35 or most == 1:
        return (int(rng.integers(1, most + 1)),)
    if choice < 0.85 or most == 2:
        first = int(rng.integers(1, most))
        return first, int(rng.integers(1, most - first + 1))
    return 1, 1, 1


def _overlapping(
    rng: np.random.Generator, groups: tuple[Group, ...], first_in_front: bool
) -> tuple[tuple[Placed, ...], tuple[int, ...]]:
    """Places two emoji of which the nearer one hides a part of the other."""
    far, near = (1, 0) if first_in_front else (0, 1)
    large, small = rng.uniform(0.5, 0.65), rng.uniform(0.3, 0.4)
    x, y = rng.uniform(large / 2, 1 - large / 2, 2)
    away, angle = rng.uniform(0.3, 0.42) * large, rng.uniform(0, 2 * math.pi)
    # Towards the middle of the frame, so that the nearer one is not cut off.
    across, down = away * math.cos(angle), away * math.sin(angle)
    near_x = float(np.clip(x + across, small / 2, 1 - small / 2))
    near_y = float(np.clip(y + down, small / 2, 1 - small / 2))
    tilts = rng.uniform(-TILT, TILT, 2)
    back = Placed(*groups[far][:2], float(x), float(y), float(large), float(tilts[0]))
    front = Placed(*groups[near][:2], near_x, near_y, float(small), float(tilts[1]))
    return (back, front), (far, near)


def _apart(
    rng: np.random.Generator, groups: tuple[Group, ...], relation: int
) -> tuple[tuple[Placed, ...], tuple[int, ...]]:
    """Places emoji apart from each other, groups with a relation on both sides of the middle."""
    members = [i for i, group in enumerate(groups) for _ in range(group.count)]
    low, high = SIDES[len(members)]
    sides = rng.uniform(low, high, len(groups))[members] * rng.uniform(0.9, 1.1, len(members))
    for _ in range(40):
        places = _places(rng, sides, [_area(relation, i) for i in members])
        if places is not None:
            break
        sides = 0.95 * sides
    else:
        raise RuntimeError("a scene has no room for its emoji")
    tilts = rng.uniform(-TILT, TILT, len(members))
    order = rng.permutation(len(members))
    placed = [
        Placed(*groups[members[i]][:2], *map(float, (*places[i], sides[i], tilts[i])))
        for i in order
    ]
    return tuple(placed), tuple(members[i] for i in order)


def _area(relation: int, group: int) -> tuple[int, int]:
    """Returns the axis that a relation divides, and the half (-1 or 1) for a group; 0 for all."""
    if relation < 0:
        return 0, 0
    axis, half = (0 if relation < 2 else 1), (-1 if relation % 2 == 0 else 1)
    return axis, half if group == 0 else -half


def _places(rng, sides, areas):
    """Returns centres [n, 2] that keep their distance, or None where no room was found."""
    found = []
    for side, (axis, half) in zip(sides, areas, strict=True):
        low, high = np.full(2, 0.45 * side), np.full(2, 1 - 0.45 * side)
        if half:
            high[axis] = min(high[axis], 0.5 - GAP / 2) if half < 0 else high[axis]
            low[axis] = max(low[axis], 0.5 + GAP / 2) if half > 0 else low[axis]
        if (high <= low).any():
            return None
        for at in rng.uniform(low, high, (12, 2)):
            apart = [np.hypot(*(at - other)) for other in found]
            if all(d > 0.42 * (side + s) for d, s in zip(apart, sides, strict=False)):
                found.append(at)
                break
        else:
            return None
    return np.array(found)
