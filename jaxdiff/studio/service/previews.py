"""Previews of what is being drawn: x0 as a small picture, of latents by a linear map.

The map is fitted once for each codec: the colours of decoded noise, by least squares of its
latents. It costs one decoding of 16 by 16 latents.
"""

import base64
import functools
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdiff.studio import pixels
from jaxdiff.studio.service.jobs import Job

SIDE = 16
"""Latents on a side of what the map is fitted to."""
LARGEST = 512
"""Pixels on the longer side of a preview."""

Map = Float[np.ndarray, "channels_and_one 3"]


@functools.lru_cache(maxsize=4)
def fitted(decode: Any, channels: int) -> Map:
    """Returns the map from latents, and 1, to colours.

    `decode` is a function of latents [n, h, w, c]; one object for each codec.
    """
    z = jax.random.normal(jax.random.key(0), (1, SIDE, SIDE, channels))
    x = np.asarray(decode(jnp.asarray(z)), np.float32)
    factor = x.shape[1] // SIDE
    colours = x.reshape(1, SIDE, factor, SIDE, factor, -1).mean(axis=(2, 4)).reshape(SIDE**2, -1)
    latents = np.asarray(z).reshape(SIDE**2, channels)
    inputs = np.concatenate([latents, np.ones((len(latents), 1), np.float32)], axis=1)
    return np.linalg.lstsq(inputs, colours[:, :3], rcond=None)[0].astype(np.float32)


def colours(x0: Float[np.ndarray, "n h w c"], found: Map | None) -> Float[np.ndarray, "n h w d"]:
    """Returns pictures in [-1, 1] of what is diffused: pixels themselves, latents by the map."""
    if found is None:
        return np.clip(x0, -1, 1)
    return np.clip(x0 @ found[:-1] + found[-1], -1, 1)


def jpeg(x0: Any, found: Map | None, upwards: bool = True) -> bytes:
    """Returns the first picture of a batch as a JPEG file, with a side of at most 512."""
    x0 = np.asarray(x0, np.float32)
    if x0.ndim != 4 or len(x0) == 0 or (found is None and x0.shape[-1] not in (1, 3)):
        return b""
    image = pixels.picture_of(colours(x0[:1], found)[0]).convert("RGB")
    scale = min(LARGEST / max(image.size), 8)
    if scale < 1 or upwards:
        image = image.resize([max(round(n * scale), 1) for n in image.size])
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def encoded(studio: Any, job: Job) -> str | None:
    """Returns the preview of a job in base64, or None where there is none."""
    if job.preview is None:
        return None
    content = jpeg(job.preview, studio.preview_map(np.shape(job.preview)[-1]))
    return base64.b64encode(content).decode() if content else None
