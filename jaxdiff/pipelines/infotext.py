"""The text in which other tools write a picture's settings into it, and read them back.

a red cat
Negative prompt: blurry
Steps: 30, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 0, Size: 512x768, ...

The format is that of AUTOMATIC1111's web interface, in the chunk `parameters` of a PNG file.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

SAMPLERS = {
    "DDIM": "DDIM",
    "DPM2": "DPM2",
    "DPM2Ancestral": "DPM2 a",
    "DPMpp2M": "DPM++ 2M",
    "DPMpp2MSDE": "DPM++ 2M SDE",
    "DPMpp2SAncestral": "DPM++ 2S a",
    "DPMpp3MSDE": "DPM++ 3M SDE",
    "DPMppSDE": "DPM++ SDE",
    "Euler": "Euler",
    "EulerAncestral": "Euler a",
    "Heun": "Heun",
    "LCM": "LCM",
    "LMS": "LMS",
    "PLMS": "PLMS",
    "UniPC": "UniPC",
}
"""The names of solvers there. A solver without one is written by its name here."""

NEGATIVE = "Negative prompt:"
FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
LEAST = 3
"""The fewest fields of a last line that is one of settings."""


class Infotext(NamedTuple):
    """The prompts, and the fields of the last line by their names."""

    prompt: str
    negative: str
    fields: Mapping[str, str]


def written(prompt: str, negative: str, fields: Mapping[str, Any]) -> str:
    """Returns the text of a picture; fields that are None are left out."""
    pairs = [f"{name}: {_quoted(value)}" for name, value in fields.items() if value is not None]
    lines = [prompt, *([f"{NEGATIVE} {negative}"] if negative else []), ", ".join(pairs)]
    return "\n".join(lines)


def parsed(text: str) -> Infotext:
    """Returns the prompts and the fields of a picture's text."""
    *lines, last = text.strip().split("\n")
    fields = FIELD.findall(last)
    if len(fields) < LEAST:
        lines, fields = [*lines, last], []
    prompts: dict[bool, list[str]] = {False: [], True: []}
    negative = False
    for line in lines:
        if not negative and line.strip().startswith(NEGATIVE):
            negative, line = True, line.strip().removeprefix(NEGATIVE)  # noqa: PLW2901
        prompts[negative].append(line.strip())
    found = {name.strip(): _plain(value) for name, value in fields}
    return Infotext("\n".join(prompts[False]), "\n".join(prompts[True]), found)


def solver_of(sampler: str) -> str:
    """Returns the solver for a sampler's name in pictures; an unknown name is left as it is."""
    return {name: solver for solver, name in SAMPLERS.items()}.get(sampler, sampler)


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n"]', text) else text


def _plain(value: str) -> str:
    if not (value.startswith('"') and value.endswith('"')):
        return value.strip()
    try:
        return json.loads(value)
    except ValueError:
        return value
