"""Pictures from files and from uploads, with limits, and files of pictures with their settings."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from jaxdiff.data import images
from jaxdiff.files import atomic_write

MOST_BYTES = 32 * 2**20
"""The size of a picture's file beyond which it is not read."""
MOST_PIXELS = 8192 * 8192
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""The formats that are decoded, by Pillow."""


def opened(content: bytes | Path, name: str) -> Image.Image:
    """Returns a picture, decoded whole and rotated upright.

    Raises:
        ValueError: it has too many bytes or pixels, another format, or is damaged.
    """
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    if size > MOST_BYTES:
        raise ValueError(f"{name}: {size} bytes; at most {MOST_BYTES} are read")
    file = content if isinstance(content, Path) else io.BytesIO(content)
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"{name}: {width}x{height} pixels are more than {MOST_PIXELS}")
            image.load()
            text = dict(getattr(image, "text", {}) or {})
            upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if "pixels are more" in str(error):
            raise
        raise ValueError(f"{name}: no picture that can be read ({error})") from None
    upright.info.update(text)
    return upright


def array_of(image: Image.Image, channels: int = 3) -> Float[np.ndarray, "h w c"]:
    """Returns a picture's pixels in [-1, 1]."""
    pixels = np.asarray(image.convert(images.MODES[channels]), np.float32)
    return pixels.reshape(*pixels.shape[:2], channels) / 127.5 - 1


def alpha_of(image: Image.Image) -> Float[np.ndarray, "h w"]:
    """Returns 1 where a picture is clear, 0 where it is opaque."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.zeros(image.size[::-1], np.float32)
    return 1 - np.asarray(image.convert("RGBA"), np.float32)[..., 3] / 255


def picture_of(x: Any) -> Image.Image:
    """Returns the picture of an array [h, w, c] in [-1, 1]; what is beyond is clipped."""
    pixels = np.round((np.clip(np.asarray(x), -1, 1) + 1) * 127.5).astype(np.uint8)
    return images.to_pillow(pixels)


def with_channels(image: Float[np.ndarray, "h w c"], channels: int) -> Float[np.ndarray, "h w d"]:
    """Returns a picture with another number of channels: grey, or colours of a grey one."""
    if image.shape[-1] == channels:
        return image
    return np.repeat(image.mean(axis=-1, keepdims=True), channels, axis=-1)


def png_bytes(image: Image.Image, texts: Mapping[str, str]) -> bytes:
    """Returns a PNG file with texts in it."""
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=_chunks(texts))
    return file.getvalue()


def save_png(path: Path, image: Image.Image, texts: Mapping[str, str]) -> None:
    """Writes a PNG file with texts in it."""
    with atomic_write(path) as draft:
        image.save(draft, "PNG", pnginfo=_chunks(texts))


def _chunks(texts: Mapping[str, str]) -> PngInfo:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    return info
