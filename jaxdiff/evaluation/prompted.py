"""Sheets of samples with their prompts."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from jaxdiff.evaluation.figures import INK
from jaxdiff.evaluation.films import Sheet, to_rgb
from jaxdiff.evaluation.pictures import font, grid
from jaxdiff.files import atomic_write

BAND = 20
"""Pixels of the band with a prompt."""


def prompted(rows: Sequence[Float[np.ndarray, "n h w c"]], prompts: Sequence[str]) -> Sheet:
    """Returns a sheet with a row of images in [-1, 1] for each prompt, which stands above it."""
    parts = []
    for row, prompt in zip(rows, prompts, strict=True):
        sheet = to_rgb(grid(row, len(row)))
        parts += [band(prompt, sheet.shape[1]), sheet]
    return np.concatenate(parts)


def band(text: str, width: int) -> Sheet:
    """Returns a white band with a text, as large as fits."""
    picture = Image.new("RGB", (width, BAND), "white")
    size = 13
    while size > 6 and font(size).getlength(text) > width - 8:
        size -= 1
    ImageDraw.Draw(picture).text((4, BAND // 2), text, fill=INK, font=font(size), anchor="lm")
    return np.asarray(picture)


def save_png(path: str | os.PathLike, sheet: Sheet) -> None:
    """Writes a sheet."""
    with atomic_write(path) as draft:
        Image.fromarray(sheet).save(draft, format="PNG")
