"""Encoded images in and out of arrays."""

import io
from os import PathLike

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's names for what an image with so many channels holds."""


def decode(
    file: PathLike | io.BytesIO, channels: int, name: str
) -> UInt8[np.ndarray, "h w {channels}"]:
    """Reads an image file with 1, 3 or 4 channels, upright where a camera's EXIF tag says how.

    Raises:
        ValueError: the file holds no readable image; names it by `name`.
    """
    try:
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
            pixels = np.asarray(upright.convert(MODES[channels]))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: not a readable image ({error}); replace or remove it") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def to_pillow(x: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    """Returns a Pillow image of the same pixels."""
    return Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x)


def from_pillow(image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
    """Returns the pixels, with a channel axis also where there is one channel."""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def png(x: UInt8[np.ndarray, "h w c"]) -> io.BytesIO:
    """Returns an image as a PNG file in memory, which TFDS stores without TensorFlow."""
    file = io.BytesIO()
    to_pillow(x).save(file, format="PNG")
    file.seek(0)
    return file
