"""Captions of scenes: counts, colours, relations, the ground."""

from collections.abc import Sequence

from jaxdiff.data.scenes.layout import RELATIONS, Group, Layout
from jaxdiff.data.scenes.motion import DIRECTIONS, Mover, MovingLayout
from jaxdiff.data.scenes.paint import Ground
from jaxdiff.data.scenes.sprites import COLOR_NAMES, NOUNS, PLURALS

COUNTS = ("no", "a", "two", "three", "four")
FALLING = "falling and bouncing"
CAMERA = {direction: f"the camera panning {direction}" for direction in DIRECTIONS}
CAMERA |= {way: f"the camera zooming {way}" for way in ("in", "out")} | {"still": ""}


def caption(layout: Layout) -> str:
    """Returns the caption of a still scene: "two red hearts left of a guitar, on a blue ground"."""
    groups = [of_group(group) for group in layout.groups]
    things = joined(groups)
    if layout.relation >= 0:
        things = f"{groups[0]} {RELATIONS[layout.relation]} {groups[1]}"
    return f"{things}, {of_ground(layout.ground)}"


def moving_caption(layout: MovingLayout, moves: bool = True) -> str:
    """Returns the caption of a clip, or of its first frame if nothing moves.

    "a green apple falling and bouncing, the camera zooming in, on a checked blue ground".
    """
    things = [of_group(group) for group in layout.groups]
    if moves:
        things = [
            f"{thing} {of_motion(mover)}"
            for thing, mover in zip(things, layout.movers, strict=True)
        ]
    camera = CAMERA[layout.camera.kind] if moves else ""
    return ", ".join(filter(None, [joined(things), camera, of_ground(layout.ground)]))


def of_motion(mover: Mover) -> str:
    """Returns "moving left", "falling and bouncing while turning", "standing still"."""
    if mover.path == "still":
        return "standing still" if mover.change == "none" else mover.change
    change = "" if mover.change == "none" else f" while {mover.change}"
    return (FALLING if mover.path == "falling" else f"moving {mover.path}") + change


def of_group(group: Group) -> str:
    """Returns "a blue car", "an orange cat", "three red hearts"."""
    color, noun = COLOR_NAMES[group.color], NOUNS[group.kind]
    if group.count == 1:
        return f"{article(color)} {color} {noun}"
    return f"{COUNTS[group.count]} {color} {PLURALS.get(noun, noun + 's')}"


def of_ground(ground: Ground) -> str:
    """Returns "on a blue ground", "on a ground from red to white", "on a checked blue ground"."""
    if ground.kind == "gradient":
        return f"on a ground from {ground.first} to {ground.second}"
    words = f"checked {ground.first}" if ground.kind == "checked" else ground.first
    return f"on {article(words)} {words} ground"


def joined(parts: Sequence[str]) -> str:
    """Returns "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def article(words: str) -> str:
    """Returns "a" or "an"."""
    return "an" if words[0] in "aeiou" else "a"
