"""What a client of AUTOMATIC1111's asks for, as a request."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from jaxdiff.pipelines import infotext
from jaxdiff.studio import pixels
from jaxdiff.studio.requests import Request

SCHEDULES = {
    "automatic": None,
    "uniform": "Linspace(round=False)",
    "karras": "Respaced(of=Linspace(round=False), rule='karras')",
    "exponential": "Respaced(of=Linspace(round=False), rule='exponential')",
    "sgm_uniform": "SGMUniform",
    "simple": "Trailing",
    "ddim": "Leading(offset=1)",
    "beta": "Beta",
}
"""Grids of times by the names of schedules there."""


def requests_of(payload: Mapping[str, Any], start: str | None, most: int) -> list[Request]:
    """Returns the requests that a payload means: one for each picture, whose seed is one higher.

    Raises:
        ValueError: a field has a value that means nothing; there are more than `most` pictures.
    """
    num = number_of(payload, "batch_size", 1) * number_of(payload, "n_iter", 1)
    if not 1 <= num <= most:
        raise ValueError(
            f"batch_size and n_iter ask for {num} pictures; from 1 to {most} are drawn"
        )
    first = request_of(payload, start)
    return [replace(first, seed=first.seed + i) for i in range(num)]


def request_of(payload: Mapping[str, Any], start: str | None) -> Request:
    """Returns the request for the first picture of a payload."""
    seed = number_of(payload, "seed", -1)
    seed = int.from_bytes(np.random.default_rng().bytes(4)) % 2**31 if seed < 0 else seed
    sampler = payload.get("sampler_name") or payload.get("sampler_index") or None
    schedule = str(payload.get("scheduler") or "automatic").lower().replace(" ", "_")
    # Older clients write both in one name, "DPM++ 2M Karras".
    if sampler and (match := re.fullmatch(r"(.+) (Karras|Exponential)", sampler)):
        sampler, schedule = match[1], match[2].lower()
    if schedule not in SCHEDULES:
        raise ValueError(f"scheduler={schedule!r} is not here; known: {', '.join(SCHEDULES)}")
    width, height = (number_of(payload, name, 0) for name in ("width", "height"))
    scale = payload.get("cfg_scale")
    request = Request(
        prompt=str(payload.get("prompt") or ""),
        negative=str(payload.get("negative_prompt") or ""),
        seed=seed,
        steps=None if payload.get("steps") is None else number_of(payload, "steps", 0),
        guidance_scale=None if scale is None else float(scale),
        solver=infotext.solver_of(sampler) if sampler and sampler != "Automatic" else None,
        timesteps=SCHEDULES[schedule],
        size=(height, width) if width and height else None,
    )
    if start is None:
        return request
    image = image_of(start, "init_images").convert("RGB")
    size = (width or image.width, height or image.height)
    image = fitted(image, size, number_of(payload, "resize_mode", 0))
    strength = float(payload.get("denoising_strength", 0.75))
    request = replace(request, image=pixels.array_of(image), size=size[::-1], strength=strength)
    if mask := payload.get("mask"):
        drawn = image_of(mask, "mask").convert("L").resize(size, Image.Resampling.LANCZOS)
        if blur := number_of(payload, "mask_blur", 0):
            drawn = drawn.filter(ImageFilter.GaussianBlur(blur))
        anew = np.asarray(drawn, np.float32) / 255
        inverted = bool(payload.get("inpainting_mask_invert", 0))
        request = replace(request, mask=1 - anew if inverted else anew)
    return request


def fitted(image: Image.Image, size: tuple[int, int], mode: int) -> Image.Image:
    """Returns a picture of a size: stretched (0), cut (1), or with a frame of its edges (2)."""
    if image.size == size or mode not in (1, 2):
        return image.resize(size, Image.Resampling.LANCZOS) if image.size != size else image
    ratios = [wanted / found for wanted, found in zip(size, image.size, strict=True)]
    ratio = max(ratios) if mode == 1 else min(ratios)
    inner = tuple(max(round(n * ratio), 1) for n in image.size)
    resized = image.resize(inner, Image.Resampling.LANCZOS)
    place = tuple((wanted - found) // 2 for wanted, found in zip(size, inner, strict=True))
    whole = image.resize(size, Image.Resampling.LANCZOS)
    whole.paste(resized, place)
    return whole


def image_of(text: str, name: str) -> Image.Image:
    """Returns the picture of a text in base64, also of a data URL."""
    try:
        content = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text)
    except (binascii.Error, ValueError):
        raise ValueError(f"{name}: no picture in base64") from None
    return pixels.opened(content, name)


def number_of(payload: Mapping[str, Any], name: str, default: int) -> int:
    """Returns an integer of a payload.

    Raises:
        ValueError: it is another value.
    """
    value = payload.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(f"{name} is {value!r}; expected an integer")
    return int(value)
