"""X/Y/Z plots: pictures for all combinations of values, in one sheet with captions."""

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from jaxdiff.config.kinds import suggest
from jaxdiff.studio import pixels
from jaxdiff.studio.requests import Request

FIELDS = ("seed", "steps", "guidance_scale", "solver", "timesteps", "strength", "prompt", "model")
MOST = 400
"""The number of pictures of a plot."""
SEARCH = "search and replace"


@dataclass(frozen=True)
class Axis:
    """A field of a request, or SEARCH, with its values.

    With SEARCH, the first value is a text within the prompt, which each value takes the place of.
    """

    field: str
    values: tuple[Any, ...]

    def __post_init__(self):
        if self.field not in (*FIELDS, SEARCH):
            known = suggest(self.field, [*FIELDS, SEARCH])
            raise ValueError(f"there is no axis {self.field!r}{known}")
        if not self.values:
            raise ValueError(f"the axis {self.field!r} has no values")

    def changed(self, request: Request, value: Any) -> Request:
        """Returns the request with a value of the axis."""
        if self.field == "model":
            return request
        if self.field == SEARCH:
            if str(self.values[0]) not in request.prompt:
                raise ValueError(f"the prompt has no {self.values[0]!r} to be replaced")
            return replace(request, prompt=request.prompt.replace(str(self.values[0]), str(value)))
        return replace(request, **{self.field: value})


def axis(field: str, text: str) -> Axis:
    """Returns an axis of a text, "1, 2, 5" or "1-3"; values of solvers are taken as they are.

    Raises:
        ValueError: the field is unknown, or there are no values.
    """
    parts = [part.strip() for part in text.split(";" if ";" in text else ",") if part.strip()]
    if field in ("seed", "steps") and len(parts) == 1 and parts[0].count("-") == 1:
        low, _, high = parts[0].partition("-")
        if low.isdigit() and high.isdigit():
            return Axis(field, tuple(range(int(low), int(high) + 1)))
    numbers = field in ("seed", "steps", "guidance_scale", "strength")
    return Axis(field, tuple(_number(part) if numbers else part for part in parts))


def _number(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise ValueError(f"{text!r} is no number") from None


Draw = Callable[[Request, str | None], np.ndarray]
"""From a request and the name of a model, None for the chosen one, to a picture [h, w, c]."""


def combinations(request: Request, axes: Sequence[Axis]) -> list[tuple[Request, str | None]]:
    """Returns the requests of a plot, the last axis the fastest, each with its model.

    Raises:
        ValueError: there are too many; an axis does not fit.
    """
    found: list[tuple[Request, str | None]] = [(replace(request, num=1), None)]
    for each in axes:
        found = [
            (each.changed(one, value), value if each.field == "model" else model)
            for one, model in found
            for value in each.values
        ]
    if len(found) > MOST:
        raise ValueError(f"{len(found)} pictures; at most {MOST} in a plot")
    return found


def plot(request: Request, axes: Sequence[Axis], draw: Draw) -> list[Image.Image]:
    """Returns sheets, one for each value of the third axis: columns by the first, rows the second.

    Raises:
        ValueError: there are no axes, more than three, or too many pictures.
    """
    if not 1 <= len(axes) <= 3:
        raise ValueError(f"{len(axes)} axes; from one to three make a plot")
    x, y, z = [*axes, *[None] * (3 - len(axes))]
    ordered = [each for each in (z, y, x) if each is not None]
    pictures = [draw(one, model) for one, model in combinations(request, ordered)]
    columns = len(x.values)
    rows = len(y.values) if y else 1
    sheets = []
    for i, value in enumerate(z.values if z else [None]):
        part = pictures[i * rows * columns : (i + 1) * rows * columns]
        title = f"{z.field}: {value}" if z else ""
        sheets.append(sheet(part, _captions(x), _captions(y) if y else [""], title))
    return sheets


def _captions(of: Axis) -> list[str]:
    return [f"{of.field}: {value}" for value in of.values]


def sheet(
    pictures: Sequence[np.ndarray], columns: Sequence[str], rows: Sequence[str], title: str = ""
) -> Image.Image:
    """Returns pictures [h, w, c] in a grid with captions above and at the left."""
    images = [pixels.picture_of(each).convert("RGB") for each in pictures]
    scale = max(1, round(96 / max(images[0].size)))
    images = [
        each.resize([n * scale for n in each.size], Image.Resampling.NEAREST) for each in images
    ]
    wide, high = (max(sizes) for sizes in zip(*(each.size for each in images), strict=True))
    left = 110 if any(rows) else 4
    top = 22 + (18 if title else 0)
    whole = Image.new(
        "RGB", (left + len(columns) * (wide + 4), top + len(rows) * (high + 4)), "white"
    )
    pen = ImageDraw.Draw(whole)
    if title:
        pen.text((4, 3), title, fill="black")
    for i, words in enumerate(columns):
        pen.text((left + i * (wide + 4), top - 16), words[: max(wide // 6, 8)], fill="black")
    for j, words in enumerate(rows):
        pen.text((4, top + j * (high + 4) + high // 2), words[:18], fill="black")
        for i in range(len(columns)):
            place = (left + i * (wide + 4), top + j * (high + 4))
            whole.paste(images[j * len(columns) + i], place)
    return whole


def code(request: Request, axes: Sequence[Axis], path: str) -> str:
    """Returns the Python that draws the same pictures."""
    settings = {n: v for n, v in request.settings().items() if n not in ("num", "prompt")}
    loops, changed = (
        [],
        {**{n: repr(v) for n, v in settings.items()}, "prompt": repr(request.prompt)},
    )
    for depth, each in enumerate(axes):
        name = each.field.replace(" ", "_")
        loops.append(f"{'    ' * depth}for {name} in {list(each.values)!r}:")
        if each.field == SEARCH:
            changed["prompt"] += f".replace({each.values[0]!r}, {name})"
        else:
            changed[name] = name
    prompt = changed.pop("prompt")
    changed.pop("model", None)
    given = "".join(f", {name}={value}" for name, value in changed.items())
    indent = "    " * len(axes)
    lines = [
        "import jaxdiff",
        "",
        f"pipeline = jaxdiff.released({path!r})",
        "pictures = []",
        *loops,
    ]
    lines.append(f"{indent}pictures.append(pipeline.sample(1, {prompt}{given})[0])")
    return "\n".join(lines)
