"""Playing clips as files: GIF and MP4."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxdiff.files import atomic_write

RATE = 8
"""Frames a second."""

Sheet = UInt8[np.ndarray, "height width 3"]
AnySheet = UInt8[np.ndarray, "height width c"]


def to_rgb(sheet: UInt8[np.ndarray, "height width c"]) -> Sheet:
    """Returns a sheet with three channels; grey ones are repeated."""
    return np.broadcast_to(sheet, (*sheet.shape[:2], 3))


def save_gif(path: str | os.PathLike, sheets: Sequence[AnySheet]) -> None:
    """Writes sheets as a GIF that loops for ever, at `RATE` frames a second."""
    images = [Image.fromarray(to_rgb(sheet)) for sheet in sheets]
    options = {"format": "GIF", "save_all": True, "duration": 1000 // RATE, "loop": 0}
    with atomic_write(path) as draft:
        images[0].save(draft, append_images=images[1:], **options)


def save_mp4(path: str | os.PathLike, sheets: Sequence[AnySheet]) -> None:
    """Writes sheets as an MP4 (H.264) at `RATE` frames a second; PyAV, of the extra "scenes".

    Raises:
        ModuleNotFoundError: PyAV is missing.
    """
    try:
        import av  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{path}: an .mp4 needs PyAV, pip install 'jaxdiff[scenes]'; a .gif does not"
        ) from None
    with atomic_write(path) as draft, av.open(os.fspath(draft), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        even = [_even(to_rgb(sheet)) for sheet in sheets]
        stream.height, stream.width = even[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for sheet in even:
            for packet in stream.encode(av.VideoFrame.from_ndarray(sheet, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _even(sheet: Sheet) -> UInt8[np.ndarray, "height2 width2 3"]:
    height, width = (n % 2 for n in sheet.shape[:2])
    return np.ascontiguousarray(np.pad(sheet, ((0, height), (0, width), (0, 0)), mode="edge"))
