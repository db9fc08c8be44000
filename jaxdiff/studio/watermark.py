"""An invisible mark in pictures, which a key finds again after compression, cropping, resizing.

The mark is a pattern of noise of middle frequencies, drawn by the key, repeated over the picture
as a tile, and stronger where the picture is busy. To find it, the picture's own middle frequencies
are folded onto one tile, for each of several scales, and correlated with the pattern at all shifts:
so where a crop begins does not matter. The score is the highest correlation in deviations of all.

It says that a picture came from here, not who made it; who knows the key can remove it. Rates of
detection and of false alarms: docs/provenance.md.
"""

import functools
import hashlib

import numpy as np
from jaxtyping import Float
from PIL import Image

TILE = 64
"""Pixels on a side of the pattern."""
STRENGTH = 1.6
"""Deviation of the mark, of 255, where the picture is of middling texture."""
BAND = (0.04, 0.22)
"""Frequencies of the pattern, in cycles a pixel."""
SCALES = tuple(np.round(np.geomspace(0.5, 2.0, 29), 4))
"""Sizes of the picture, beside its size when it was marked, that are tried."""
THRESHOLD = 6.5
"""The score from which a picture counts as marked."""
LARGEST = 1024
"""Pixels on the longer side of what is looked at."""

Grey = Float[np.ndarray, "h w"]


@functools.lru_cache(maxsize=16)
def pattern(key: str) -> Float[np.ndarray, "tile tile"]:
    """Returns the pattern of a key: mean 0, deviation 1, within the band."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    noise = np.random.default_rng(seed).normal(size=(TILE, TILE))
    spectrum = np.fft.fft2(noise) * _within(TILE, TILE)
    found = np.real(np.fft.ifft2(spectrum))
    return found / found.std()


def marked(image: Image.Image, key: str, strength: float = STRENGTH) -> Image.Image:
    """Returns a picture with the mark of a key; each pixel changes by a few levels of 255."""
    pixels = np.asarray(image.convert("RGB"), np.float32)
    height, width = pixels.shape[:2]
    tiles = (-(-height // TILE), -(-width // TILE))
    mark = np.tile(pattern(key), tiles)[:height, :width]
    grey = pixels.mean(axis=-1)
    busy = np.sqrt(_smooth(_middle(grey) ** 2))
    factor = np.clip(busy / 6, 0.6, 2.0)
    found = pixels + (strength * factor * mark)[..., None]
    return Image.fromarray(np.clip(np.round(found), 0, 255).astype(np.uint8))


def score(image: Image.Image, key: str) -> float:
    """Returns how surely a picture has the mark of a key; see `THRESHOLD`."""
    image = image.convert("L")
    if max(image.size) > LARGEST:
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return max(_score(image, scale, key) for scale in SCALES)


def is_marked(image: Image.Image, key: str) -> bool:
    """Returns whether a picture has the mark of a key."""
    return score(image, key) >= THRESHOLD


def _score(image: Image.Image, scale: float, key: str) -> float:
    """Returns the highest correlation if the picture has been resized by `scale`."""
    size = [round(n / scale) for n in image.size]
    if min(size) < TILE // 2 or max(size) > 2 * LARGEST:
        return 0.0
    resized = image if scale == 1 else image.resize(size, Image.Resampling.BICUBIC)
    grey = np.asarray(resized, np.float32)
    middle = _middle(grey)
    # Busy places have more of the mark, and much more of everything else.
    middle = middle / (np.sqrt(_smooth(middle**2)) + 1.0)
    folded = _folded(middle)
    spectrum = np.fft.fft2(folded) * np.conj(np.fft.fft2(pattern(key)))
    # All frequencies of the band count alike: a picture's own are very uneven.
    whitened = np.where(_within(TILE, TILE), spectrum / (np.abs(np.fft.fft2(folded)) + 1e-6), 0)
    found = np.real(np.fft.ifft2(whitened))
    return float(found.max() / (found.std() + 1e-9))


def _folded(x: Grey) -> Float[np.ndarray, "tile tile"]:
    """Returns the sum of all tiles of a picture, the last ones filled up by zeros."""
    height, width = (-(-n // TILE) * TILE for n in x.shape)
    padded = np.zeros((height, width), np.float32)
    padded[: x.shape[0], : x.shape[1]] = x
    return padded.reshape(height // TILE, TILE, width // TILE, TILE).sum(axis=(0, 2))


def _middle(x: Grey) -> Grey:
    """Returns a picture's middle frequencies."""
    return np.real(np.fft.ifft2(np.fft.fft2(x) * _within(*x.shape))).astype(np.float32)


@functools.lru_cache(maxsize=128)
def _within(height: int, width: int) -> Float[np.ndarray, "h w"]:
    """Returns 1 for the frequencies of the band, 0 for others."""
    distance = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    return ((distance >= BAND[0]) & (distance <= BAND[1])).astype(np.float32)


def _smooth(x: Grey, radius: int = 8) -> Grey:
    """Returns the means over squares, by sums."""
    side = 2 * radius + 1
    padded = np.pad(x, radius + 1, mode="edge")[:-1, :-1]
    sums = np.pad(padded.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    window = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return (window[: x.shape[0], : x.shape[1]] / side**2).clip(0).astype(np.float32)
