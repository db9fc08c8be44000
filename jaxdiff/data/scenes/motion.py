"""Motion of emoji and of the camera: paths in closed form, over time in seconds."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxdiff.data.scenes.layout import TILT, Group, draw_ground, draw_groups
from jaxdiff.data.scenes.paint import Camera, Ground, Placed

GRAVITY = 2.5
"""In sides of the frame per second squared."""

BOUNCE = 0.75
"""The speed after a bounce, as a share of the speed before."""

FLOOR = 0.97
"""The height on which things bounce: y of their squares' lower sides."""

MOST_MOVING = 3
PATHS = ("still", "left", "right", "up", "down", "falling")
CHANGES = ("none", "turning", "growing", "shrinking")
CAMERAS = ("still", "left", "right", "up", "down", "in", "out")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}


class Mover(NamedTuple):
    """An emoji and its motion.

    `speed` is along the path, in sides of the frame per second; of a falling emoji, sideways.
    `rate` is of the change: radians, or the logarithm of the size, per second.
    """

    start: Placed
    path: str
    change: str
    speed: float
    rate: float

    def at(self, time: float) -> Placed:
        """Returns the emoji at a time."""
        x, y, side, angle = self.start[2:]
        if self.path == "falling":
            floor = FLOOR - side / 2
            x, y = x + self.speed * time, floor - bounced(time, floor - y)
        else:
            across, down = DIRECTIONS[self.path]
            x, y = x + across * self.speed * time, y + down * self.speed * time
        if self.change == "turning":
            angle += self.rate * time
        elif self.change != "none":
            side *= math.exp(self.rate * time)
        return self.start._replace(x=x, y=y, side=side, angle=angle)


class CameraPath(NamedTuple):
    """A camera that pans or zooms at an even `rate` over `duration` seconds."""

    kind: str
    rate: float
    duration: float

    def at(self, time: float) -> Camera:
        """Returns the camera at a time; a pan is at the middle in the middle of the time.

        Zooming in begins, and zooming out ends, with the whole frame of the world.
        """
        if self.kind in ("in", "out"):
            near = time if self.kind == "in" else self.duration - time
            return Camera(zoom=math.exp(self.rate * near))
        across, down = DIRECTIONS[self.kind]
        along = self.rate * (time - self.duration / 2)
        return Camera(0.5 + across * along, 0.5 + down * along)


class MovingLayout(NamedTuple):
    """A clip: its emoji from the farthest to the nearest, the camera's path, the ground."""

    groups: tuple[Group, ...]
    movers: tuple[Mover, ...]
    camera: CameraPath
    ground: Ground

    def at(self, time: float) -> tuple[tuple[Placed, ...], Camera]:
        """Returns the emoji as they lie in the frame at a time, and the camera."""
        camera = self.camera.at(time)
        return tuple(camera.seen(mover.at(time)) for mover in self.movers), camera


def bounced(time: float, height: float) -> float:
    """Returns the height of a thing, dropped at rest from a height at time 0, over the floor."""
    fall = math.sqrt(2 * height / GRAVITY)
    if time < fall:
        return height - GRAVITY * time**2 / 2
    time, speed = time - fall, BOUNCE * GRAVITY * fall
    while speed > 1e-2:
        if time < 2 * speed / GRAVITY:
            return speed * time - GRAVITY * time**2 / 2
        time, speed = time - 2 * speed / GRAVITY, BOUNCE * speed
    return 0.0


def draw_moving(rng: np.random.Generator, held_out: bool, duration: float) -> MovingLayout:
    """Draws a clip of a duration in seconds; with `held_out`, of a pair that training lacks."""
    count = int(rng.choice(MOST_MOVING, p=(0.5, 0.35, 0.15))) + 1
    camera = CAMERAS[rng.integers(1, len(CAMERAS))] if rng.random() < 0.6 else "still"
    rate = float(rng.uniform(0.15, 0.3) if camera in DIRECTIONS else rng.uniform(0.25, 0.5))
    # On a plain ground a moving camera looks like moving things.
    ground = draw_ground(rng, *([] if camera == "still" else [("gradient", "checked")]))
    groups = draw_groups(rng, (1,) * count, ground, held_out)
    movers = tuple(_draw_mover(rng, group, count, duration) for group in groups)
    return MovingLayout(groups, movers, CameraPath(camera, rate, duration), ground)


def _draw_mover(rng: np.random.Generator, group: Group, count: int, duration: float) -> Mover:
    path, change = PATHS[rng.integers(len(PATHS))], CHANGES[rng.integers(len(CHANGES))]
    side = float(rng.uniform(0.3, 0.5) if count == 1 else rng.uniform(0.25, 0.38))
    rate = float(rng.uniform(1.5, 3.5) * rng.choice((-1, 1)))
    if change in ("growing", "shrinking"):
        rate = float(rng.uniform(0.4, 0.8)) * (1 if change == "growing" else -1)
        # The size drawn is that of the middle of the clip.
        side = min(side * math.exp(-rate * duration / 2), 0.6)
    begin = rng.uniform(0.2, 0.4) if path != "still" else rng.uniform(0.3, 0.7)
    across = rng.uniform(0.25, 0.75)
    speed = min(float(rng.uniform(0.3, 0.7)), (0.85 - begin) / max(duration, 1e-3))
    along = {"left": (1 - begin, across), "right": (begin, across), "still": (begin, across)}
    along |= {"up": (across, 1 - begin), "down": (across, begin)}
    if path == "falling":
        side = min(side, 0.4)
        top = rng.uniform(0.1, 0.3)
        speed = float(rng.uniform(-0.3, 0.3)) / max(duration, 1)
        along["falling"] = (across, top)
    x, y = along[path]
    start = Placed(*group[:2], float(x), float(y), side, float(rng.uniform(-TILT, TILT)))
    return Mover(start, path, change, 0.0 if path == "still" else speed, rate)


def flow_matrices(
    before: Float[np.ndarray, "n 2 3"], after: Float[np.ndarray, "n 2 3"]
) -> Float[np.ndarray, "n 2 3"]:
    """Returns the maps of the frame that move each layer from one frame to the next."""
    inverse = np.linalg.inv(before[:, :, :2])
    linear = after[:, :, :2] @ inverse
    shift = after[:, :, 2] - np.einsum("nij,nj->ni", linear, before[:, :, 2])
    return np.concatenate([linear, shift[..., None]], axis=-1)
