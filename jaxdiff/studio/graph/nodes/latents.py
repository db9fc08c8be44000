"""Nodes of latents: empty ones, those of pictures and back, resized, masked and joined."""

import functools
from dataclasses import replace
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from jaxdiff import random
from jaxdiff.options import Between, PositiveFloat
from jaxdiff.studio.graph.resizing import CROPS, METHODS, resized
from jaxdiff.studio.graph.values import Batch, Image, Latent, Mask, OfLatent, OfVae, Side, Vae

FACTOR = 8
"""Pixels on a side of one latent, in the nodes that do not know the model."""

Pixels = Annotated[int, Between(0, 16384)]
Tile = Annotated[int, Between(16, 4096)]
Part = Annotated[int, Between(0, 4096)]


def EmptyLatentImage(width: Side = 512, height: Side = 512, batch_size: Batch = 1) -> Latent:
    """Latents of zeros for pictures of a size, of any model whose latents are 8 pixels wide."""
    shape = (batch_size, height // FACTOR, width // FACTOR, 4)
    return OfLatent(jnp.zeros(shape), empty=True)


def EmptySD3LatentImage(width: Side = 1024, height: Side = 1024, batch_size: Batch = 1) -> Latent:
    """Latents of zeros of 16 channels."""
    shape = (batch_size, height // FACTOR, width // FACTOR, 16)
    return OfLatent(jnp.zeros(shape), empty=True)


@functools.partial(jax.jit, static_argnames="codec")
def _encoded(codec: Any, params: Any, x: Any, keys: Any) -> Any:
    return codec.encode(params, x, keys)


@functools.partial(jax.jit, static_argnames="codec")
def _decoded(codec: Any, params: Any, z: Any) -> Any:
    return codec.decode(params, z)


def _latents(vae: OfVae, pixels: Any) -> Any:
    """Returns the latents of pictures, of which what is beyond whole latents is cut off."""
    x, factor = jnp.asarray(pixels), vae.factor
    height, width = (n // factor * factor for n in x.shape[1:3])
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    x = x[:, top : top + height, left : left + width, :3]
    keys = random.example_keys(jax.random.key(0), jnp.arange(len(x)))
    return _encoded(vae.codec, vae.params, x, keys)


def VAEEncode(pixels: Image, vae: Vae) -> Latent:
    """The latents of pictures."""
    return OfLatent(_latents(vae, pixels))


def VAEDecode(samples: Latent, vae: Vae) -> Image:
    """The pictures of latents."""
    return _decoded(vae.codec, vae.params, jnp.asarray(samples.samples))


def VAEDecodeTiled(
    samples: Latent,
    vae: Vae,
    tile_size: Tile = 512,
    overlap: Part = 64,
    temporal_size: Tile = 64,
    temporal_overlap: Part = 8,
) -> Image:
    """The pictures of latents; whole, and not by tiles, so that no seam is seen."""
    return VAEDecode(samples, vae)


def VAEEncodeForInpaint(
    *,
    pixels: Image,
    vae: Vae,
    mask: Mask,
    grow_mask_by: Annotated[int, Between(0, 64)] = 6,
) -> Latent:
    """The latents of pictures that are grey under a mask, which is drawn anew and a little more."""
    x = jnp.asarray(pixels)
    hole = jax.image.resize(jnp.asarray(mask), (len(mask), *x.shape[1:3]), "bilinear")
    hole = jnp.round(hole)
    samples = _latents(vae, x * (1 - hole[..., None]))
    return OfLatent(samples, jnp.round(_grown(hole, grow_mask_by)))


def _grown(mask: Any, by: int) -> Any:
    """Returns masks [n, h, w] with the greatest value within a square of `by` pixels."""
    if by == 0:
        return mask
    sides = (by // 2, (by - 1) // 2)
    padding = [(0, 0), sides, sides]
    return jax.lax.reduce_window(mask, 0.0, jax.lax.max, (1, by, by), (1, 1, 1), padding)


def SetLatentNoiseMask(samples: Latent, mask: Mask) -> Latent:
    """Latents of which only a mask is drawn anew."""
    return replace(samples, mask=jnp.asarray(mask))


def LatentUpscale(
    samples: Latent,
    upscale_method: METHODS = "nearest-exact",
    width: Pixels = 512,
    height: Pixels = 512,
    crop: CROPS = "disabled",
) -> Latent:
    """Latents for another size in pixels; a side of 0 keeps the shape."""
    rows, columns = samples.samples.shape[1:3]
    if width == 0 and height == 0:
        return samples
    wide = max(width // FACTOR, 1) if width else max(round(columns * height / FACTOR / rows), 1)
    high = max(height // FACTOR, 1) if height else max(round(rows * width / FACTOR / columns), 1)
    return replace(samples, samples=resized(samples.samples, (high, wide), upscale_method, crop))


def LatentUpscaleBy(
    samples: Latent, upscale_method: METHODS = "nearest-exact", scale_by: PositiveFloat = 1.5
) -> Latent:
    """Latents for a size that is a multiple."""
    high, wide = (max(round(n * scale_by), 1) for n in samples.samples.shape[1:3])
    return replace(samples, samples=resized(samples.samples, (high, wide), upscale_method))


def RepeatLatentBatch(samples: Latent, amount: Annotated[int, Between(1, 64)] = 1) -> Latent:
    """The same latents several times."""
    repeat = lambda a: None if a is None else jnp.concatenate([jnp.asarray(a)] * amount)
    mask = samples.mask if samples.mask is None or len(samples.mask) == 1 else repeat(samples.mask)
    return replace(samples, samples=repeat(samples.samples), mask=mask)


def LatentFromBatch(
    samples: Latent,
    batch_index: Annotated[int, Between(0, 4095)] = 0,
    length: Batch = 1,
) -> Latent:
    """Some of a batch's latents, which keep their noise."""
    first = min(batch_index, len(samples.samples) - 1)
    mask = samples.mask
    if mask is not None and len(mask) > 1:
        mask = mask[first : first + length]
    part = samples.samples[first : first + length]
    return replace(samples, samples=part, mask=mask, first=samples.first + first)


def LatentComposite(
    *,
    samples_to: Latent,
    samples_from: Latent,
    x: Pixels = 0,
    y: Pixels = 0,
    feather: Pixels = 0,
) -> Latent:
    """Latents laid over others, at a place in pixels, with edges that fade."""
    base, top = jnp.asarray(samples_to.samples), jnp.asarray(samples_from.samples)
    left, first, ramp = x // FACTOR, y // FACTOR, feather // FACTOR
    rows = max(min(top.shape[1], base.shape[1] - first), 0)
    columns = max(min(top.shape[2], base.shape[2] - left), 0)
    top = top[:, :rows, :columns]
    share = jnp.ones((rows, columns, 1))
    for i in range(ramp):
        edge = (i + 1) / ramp
        if first > 0:
            share = share.at[i].multiply(edge)
        if first + rows < base.shape[1]:
            share = share.at[rows - 1 - i].multiply(edge)
        if left > 0:
            share = share.at[:, i].multiply(edge)
        if left + columns < base.shape[2]:
            share = share.at[:, columns - 1 - i].multiply(edge)
    place = (slice(None), slice(first, first + rows), slice(left, left + columns))
    mixed = share * top + (1 - share) * base[place]
    return replace(samples_to, samples=base.at[place].set(mixed))
