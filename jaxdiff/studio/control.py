"""Maps that steer a request: made of a picture by a preprocessor, for a ControlNet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from jaxdiff.config.kinds import suggest
from jaxdiff.data.edges import canny
from jaxdiff.data.images import from_pillow
from jaxdiff.data.maps import CHANNELS, ControlMap, ControlMaps, Kind
from jaxdiff.pretrained.soft_edges import soft_edges
from jaxdiff.studio import pixels
from jaxdiff.tasks.controls import Map

AS_IT_IS = "none"


def _of_pixels(kind: Kind) -> Callable[[Any], Any]:
    return lambda pixels: ControlMap(kind).values({"x": pixels})


PREPROCESSORS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        AS_IT_IS: lambda x: x.astype(np.float32) / 255,
        "edges": canny,
        "soft_edges": soft_edges,
        **{kind: _of_pixels(kind) for kind in ("lines", "grey", "low_resolution")},
    }
)
"""From pixels uint8 [h, w, 3] to a map [h, w, c] in [0, 1], by name."""


class Steered(NamedTuple):
    """A map, how it acts, and the file of the ControlNet that reads it; None for a run's own.

    `kind` is that of the map, for a network that reads several kinds; "" for one of a single kind.
    """

    map: Map
    net: Path | None = None
    kind: str = ""


def map_of(image: Image.Image, kind: str, size: tuple[int, int]) -> Float[np.ndarray, "h w c"]:
    """Returns the map in [0, 1] that a preprocessor makes of a picture at a height and width.

    Raises:
        ValueError: there is no such preprocessor, or it cannot make one of this size.
    """
    if kind not in PREPROCESSORS:
        raise ValueError(f"there is no preprocessor {kind!r}{suggest(kind, list(PREPROCESSORS))}")
    fitted = image.convert("RGB").resize(size[::-1], Image.Resampling.LANCZOS)
    return PREPROCESSORS[kind](from_pillow(fitted))


def fitted(steered: Sequence[Steered], networks: Sequence[Any]) -> list[Map]:
    """Returns the maps with the channels that control networks read.

    Raises:
        ValueError: their numbers differ.
    """
    if len(steered) != len(networks):
        raise ValueError(f"control: {len(steered)} maps for {len(networks)} control networks")
    pairs = zip(steered, networks, strict=True)
    return [_with_channels(each.map, network.map_channels) for each, network in pairs]


def joined(steered: Sequence[Steered], maps: ControlMaps) -> Map:
    """Returns maps of several kinds as the one that a network reads.

    Raises:
        ValueError: a kind is not among those of the network, or is given twice; the maps differ in
            strength or in steps.
    """
    kinds = [each.kind for each in steered]
    for kind in kinds:
        if kind not in maps.of or kinds.count(kind) > 1:
            raise ValueError(
                f"control: a map is read as {kind!r}; each of {', '.join(maps.of)} is given once"
            )
    acting = {(each.map.strength, each.map.start, each.map.end) for each in steered}
    if len(acting) > 1:
        raise ValueError("control: one network reads these maps, with one strength and span")
    values = {
        each.kind: pixels.with_channels(np.asarray(each.map.values), CHANNELS[each.kind])
        for each in steered
    }
    return Map(values, *acting.pop())


def _with_channels(one: Map, channels: int) -> Map:
    return replace(one, values=pixels.with_channels(np.asarray(one.values), channels))


def code(steered: Sequence[Steered]) -> str:
    """Returns the argument, in Python, for the maps of a request: map_0, map_1, ..."""
    if not steered:
        return ""
    acts = [f"{each.map.strength}, {each.map.start}, {each.map.end}" for each in steered]
    if steered[0].kind:
        kinds = ", ".join(f"{each.kind!r}: map_{i}" for i, each in enumerate(steered))
        return f", control=Map({{{kinds}}}, {acts[0]})"
    maps = [f"Map(map_{i}, {how})" for i, how in enumerate(acts)]
    return f", control=[{', '.join(maps)}]"


def named(steered: Sequence[Steered]) -> dict[str, str]:
    """Returns the fields of a picture's text about its maps, as other tools name them."""
    fields = {}
    for i, (one, net, kind) in enumerate(steered):
        model = f"Module: {kind}, " if kind else ""
        model += "" if net is None else f"Model: {net.stem}, "
        fields[f"ControlNet {i}"] = (
            f"{model}Weight: {one.strength:g}, Guidance Start: {one.start:g},"
            f" Guidance End: {one.end:g}"
        )
    return fields
