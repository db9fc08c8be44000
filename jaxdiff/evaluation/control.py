"""Pictures of a control network beside its maps."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdiff.evaluation import pictures
from jaxdiff.files import AnyPath
from jaxdiff.options import Size


@dataclass(frozen=True)
class ControlGrid:
    """A sheet of held-out maps, samples that follow them, samples without, and the real pictures.

    `held_out(num)` returns the examples by field; the maps are "control". Each column has one
    caption and one seed.
    """

    draw: Callable[..., np.ndarray]
    held_out: Callable[[int], Mapping[str, np.ndarray]]
    folder: AnyPath
    shown: Size = 8

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "controlled", and writes control_<step>.png.

        Raises:
            ValueError: the data have no maps.
        """
        batch = self.held_out(self.shown)
        if "control" not in batch:
            raise ValueError("ControlGrid: the examples have no 'control'; see config.control")
        maps, x = batch["control"], batch["x"]
        cond = {name: list(v) for name, v in batch.items() if name not in ("x", "control")}
        steered = self.draw(weights, len(x), cond, control=maps)
        bare = self.draw(weights, len(x), cond)
        colored = lambda a: np.broadcast_to(a, (*a.shape[:-1], 3))
        sheet = np.concatenate([as_pictures(maps), *map(colored, (steered, bare, x))])
        pictures.save_grid(self.folder / f"control_{step:08d}.png", sheet, len(x))
        yield "controlled", pictures.grid(sheet, len(x))


def as_pictures(maps: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n h w 3"]:
    """Returns maps in [0, 1] as pictures in [-1, 1]: three channels, or the highest of others."""
    few = maps if maps.shape[-1] == 3 else maps.max(axis=-1, keepdims=True)
    return np.broadcast_to(2 * few - 1, (*maps.shape[:-1], 3))
