"""Decodes image files into uint8 arrays, and encodes arrays as PNG."""

import io
from os import PathLike

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode for each number of channels."""


def decode(
    file: PathLike | io.BytesIO, channels: int, name: str
) -> UInt8[np.ndarray, "h w {channels}"]:
    """Reads an image file as uint8 with 1, 3 or 4 channels, rotated upright by its EXIF tag.

    Grey levels of 16 bits are scaled to 8 bits.

    Raises:
        ValueError: the file holds no readable image, or pixels without a fixed range (integers of
            32 bits, floats); `name` stands for the file in the message.
    """
    try:
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
            pixels = np.asarray(_eight_bits(upright, image.format, name).convert(MODES[channels]))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: not a readable image ({error}); replace or remove it") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _eight_bits(image: Image.Image, kind: str | None, name: str) -> Image.Image:
    # Pillow's own conversion of these modes cuts all values off at 255.
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        return Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        numbers = "floats" if image.mode == "F" else "integers of 32 bits"
        raise ValueError(
            f"{name}: its pixels are {numbers}, which have no fixed range; "
            "save it with 8 or 16 bits a channel"
        )
    return image


def to_pillow(x: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    """Returns a Pillow image of the same pixels."""
    return Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x)


def from_pillow(image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
    """Returns the pixels of a Pillow image; grey images get a channel axis of size 1."""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def png(x: UInt8[np.ndarray, "h w c"]) -> io.BytesIO:
    """Encodes an image as a PNG file in memory, which TFDS stores without TensorFlow."""
    file = io.BytesIO()
    to_pillow(x).save(file, format="PNG")
    file.seek(0)
    return file
