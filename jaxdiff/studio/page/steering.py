"""The panel of maps that steer a picture: drawn, uploaded, or made of a picture."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import gradio
import numpy as np
from PIL import Image

from jaxdiff.data.maps import CHANNELS
from jaxdiff.studio import control
from jaxdiff.studio.control import PREPROCESSORS, Steered
from jaxdiff.studio.page.parts import buttons, drawn, request_of, results, settings, sheet, shown
from jaxdiff.studio.service.studio import Studio
from jaxdiff.tasks.controls import Map

ROWS = 3
"""Maps at a time."""
OWN_NET = "the run's own"
AS_MADE = "as the preprocessor makes it"
CANVAS = (256, 256)


class Row(NamedTuple):
    """What a person says about one map."""

    used: bool
    drawing: Any
    kind: str
    net: str
    strength: float
    start: float
    end: float
    reads: str = AS_MADE


def panel(studio: Studio) -> None:
    """Control: pictures that follow maps."""
    rows = []
    with gradio.Row():
        with gradio.Column():
            chosen = settings(studio)
            for i in range(ROWS):
                with gradio.Accordion(f"Map {i + 1}", open=i == 0):
                    rows.append(_row(studio, i))
            show = gradio.Button("Show the maps")
            draw = buttons(studio)
        with gradio.Column():
            outputs = results()
            maps = sheet("Maps", ROWS)
    width = len(Row._fields)
    inputs = [each for row in rows for each in row]

    def read(values: Sequence[Any]) -> tuple[list[Row], dict[str, Any]]:
        given = [Row(*values[i * width : (i + 1) * width]) for i in range(ROWS)]
        return [row for row in given if row.used], chosen.read(values[ROWS * width :])

    def run(*values: Any) -> Iterator[tuple[Any, ...]]:
        yield from steered(studio, *read(values))

    def look(*values: Any) -> Any:
        given, found = read(values)
        return pictures(maps_of(studio, given, found))

    draw.click(run, [*inputs, *chosen.inputs], [*outputs, maps])
    show.click(look, [*inputs, *chosen.inputs], maps)


def _row(studio: Studio, i: int) -> list[Any]:
    black = Image.new("RGB", CANVAS)
    nets = [OWN_NET, *studio.folders.listed("controlnet")]
    found = [
        gradio.Checkbox(i == 0, label="Used"),
        gradio.ImageEditor(
            {"background": black, "layers": [], "composite": black},
            label="Draw a map, or give a picture", type="pil", image_mode="RGB",
            brush=gradio.Brush(default_size=6, colors=["#ffffff", "#000000"]),
        ),
        gradio.Dropdown(list(PREPROCESSORS), value=control.AS_IT_IS, label="Preprocessor"),
        gradio.Dropdown(nets, value=nets[0], label="ControlNet (of a released model)"),
        gradio.Slider(0, 2, value=1, step=0.05, label="Control strength"),
    ]  # fmt: skip
    with gradio.Row():
        found.append(gradio.Slider(0, 0.95, value=0, step=0.05, label="From this share of steps"))
        found.append(gradio.Slider(0.05, 1, value=1, step=0.05, label="To this share of steps"))
    kinds = [AS_MADE, *CHANNELS]
    found.append(gradio.Dropdown(kinds, value=AS_MADE, label="Read as (by a net of several maps)"))
    return found


def steered(
    studio: Studio, rows: Sequence[Row], values: dict[str, Any]
) -> Iterator[tuple[Any, ...]]:
    """Draws by maps; yields what `drawn` yields, and the maps.

    Raises:
        gradio.Error: no map is used; one does not fit the model.
    """
    if not rows:
        raise gradio.Error("use one map at least")
    maps = maps_of(studio, rows, values)
    try:
        request = request_of(studio, values, control=maps)
    except ValueError as error:
        raise gradio.Error(str(error)) from None
    size = maps[0].map.values.shape[:2]
    made = "".join(
        f'map_{i} = map_of(Image.open("picture_{i}.png"), {row.kind!r}, {size})\n'
        for i, row in enumerate(rows)
    )
    before = f"from PIL import Image\n\nfrom jaxdiff.studio.control import map_of\n\n{made}\n"
    made_maps = pictures(maps)
    for images, line, python, command in drawn(studio, request, values["model"]):
        said = f"# map_0.png, ...: the maps as they are shown\n{command}"
        yield images, line, before + python, said, made_maps


def maps_of(studio: Studio, rows: Sequence[Row], values: dict[str, Any]) -> tuple[Steered, ...]:
    """Returns the maps of rows, of the size that is drawn.

    Raises:
        gradio.Error: there is no picture; a value is out of range; there is no such ControlNet.
    """
    try:
        defaults = studio.source(values["model"]).defaults
        height, width = defaults["size"]
        given = [int(values.get(name) or 0) for name in ("height", "width")]
        size = (given[0], given[1]) if all(given) else (height, width)
        several = bool(defaults.get("maps"))
        return tuple(_map(studio, row, size, several) for row in rows)
    except (ValueError, OSError) as error:
        raise gradio.Error(str(error)) from None


def _map(studio: Studio, row: Row, size: tuple[int, int], several: bool) -> Steered:
    image = (row.drawing or {}).get("composite")
    if image is None:
        raise ValueError("a map that is used has no picture: draw one, or give one")
    found = control.map_of(image, row.kind, size)
    kind = row.kind if row.reads in (None, AS_MADE) else row.reads
    net = None if row.net in (None, OWN_NET) else studio.folders.path("controlnet", row.net)
    acting = float(row.strength), float(row.start), float(row.end)
    return Steered(Map(found, *acting), net, kind if several else "")


def pictures(maps: Sequence[Steered]) -> list[tuple[Any, str]]:
    """Returns maps as pictures with their names."""
    return [(shown(2 * np.asarray(each.map.values) - 1), f"map_{i}") for i, each in enumerate(maps)]
