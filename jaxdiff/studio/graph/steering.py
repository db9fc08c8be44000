"""ControlNets in graphs: opened for the model that samples, with their maps for each example."""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.pipelines.controls import read_control
from jaxdiff.studio.graph.resizing import resized
from jaxdiff.studio.graph.values import Entry, OfGuider, OfModel
from jaxdiff.tasks.controls import ALWAYS, Control
from jaxdiff.trees import pytree


@dataclass(frozen=True)
class OfControl:
    """A ControlNet's file; it is read when it is known which model samples."""

    path: Path
    stamp: str = ""


@pytree(data=("image", "strength"))
@dataclass(frozen=True)
class Steering:
    """A ControlNet with a picture [n, h, w, 3] in [-1, 1], and the steps in which it acts."""

    net: OfControl
    image: Any
    strength: Any = 1.0
    start: float = 0.0
    end: float = 1.0


def steered(guider: OfGuider, shape: tuple[int, ...], times: Any) -> OfGuider:
    """Returns a guider whose conditions have opened ControlNets, for samples [n, h, w, c].

    Raises:
        ValueError: a file is no ControlNet, or of another model.
    """
    each = lambda entries: tuple(_entry(entry, guider.model, shape, times) for entry in entries)
    negative = None if guider.negative is None else each(guider.negative)
    return replace(guider, positive=each(guider.positive), negative=negative)


def _entry(entry: Entry, model: OfModel, shape: tuple[int, ...], times: Any) -> Entry:
    found = tuple(_control(one, model, shape, times) for one in entry.control)
    return replace(entry, control=found) if found else entry


def _control(one: Steering, model: OfModel, shape: tuple[int, ...], times: Any) -> Control:
    with jax.ensure_compile_time_eval():
        network, params = _read(one.net, model.parts)
    size = (shape[1] * network.map_factor, shape[2] * network.map_factor)
    values = (resized(one.image, size, "bilinear", "center") + 1) / 2
    values = jnp.clip(values[..., : network.map_channels], 0, 1)
    repeats = -(-shape[0] // len(values))
    values = jnp.concatenate([values] * repeats)[: shape[0]]
    steps, times = len(times) - 1, np.asarray(times)
    first, last = int(np.ceil(one.start * steps)), int(one.end * steps)
    since = times[first] if first else ALWAYS[0]
    until = times[last] if last < steps else ALWAYS[1]
    full = lambda number: jnp.full(shape[0], number, jnp.float32)
    return Control(network, params, values, full(one.strength), full(since), full(until))


@functools.lru_cache(maxsize=4)
def _read(net: OfControl, parts: Any) -> tuple[Any, Any]:
    place = lambda shapes: parts.devices.placed({"frozen": shapes})["frozen"]
    factor = parts.factor
    return read_control(net.path, parts.model.network, factor, place, jnp.float32)
