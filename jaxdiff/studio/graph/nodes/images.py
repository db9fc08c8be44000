"""Nodes of pictures [n, h, w, c] in [-1, 1] and masks [n, h, w] in [0, 1]."""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.options import Between, PositiveFloat, Share
from jaxdiff.studio.graph.resizing import CROPS, METHODS, resized
from jaxdiff.studio.graph.values import Batch, Image, Mask

Pixels = Annotated[int, Between(0, 16384)]
Size = Annotated[int, Between(1, 16384)]


def ImageScale(
    image: Image,
    upscale_method: METHODS = "nearest-exact",
    width: Pixels = 512,
    height: Pixels = 512,
    crop: CROPS = "disabled",
) -> Image:
    """Pictures of another size; a side of 0 keeps the shape."""
    rows, columns = image.shape[1:3]
    if width == 0 and height == 0:
        return image
    wide = width or max(round(columns * height / rows), 1)
    high = height or max(round(rows * width / columns), 1)
    return resized(image, (high, wide), upscale_method, crop)


def ImageScaleBy(
    image: Image, upscale_method: METHODS = "nearest-exact", scale_by: PositiveFloat = 1.0
) -> Image:
    """Pictures whose sides are a multiple."""
    high, wide = (max(round(n * scale_by), 1) for n in image.shape[1:3])
    return resized(image, (high, wide), upscale_method)


def ImageScaleToTotalPixels(
    image: Image,
    upscale_method: METHODS = "nearest-exact",
    megapixels: PositiveFloat = 1.0,
    resolution_steps: Annotated[int, Between(1, 256)] = 1,
) -> Image:
    """Pictures of a number of 1024·1024 pixels, of the same shape."""
    rows, columns = image.shape[1:3]
    scale = (megapixels * 1024**2 / (rows * columns)) ** 0.5
    step = resolution_steps
    high, wide = (max(round(n * scale / step), 1) * step for n in (rows, columns))
    return resized(image, (high, wide), upscale_method)


def ImageInvert(image: Image) -> Image:
    """Pictures whose dark is bright."""
    return -image


def ImageBatch(image1: Image, image2: Image) -> Image:
    """Two batches in one; the second gets the size of the first."""
    second = resized(image2, image1.shape[1:3], "bilinear", "center")
    return jnp.concatenate([jnp.asarray(image1), second])


def ImageCrop(
    image: Image,
    width: Size = 512,
    height: Size = 512,
    x: Pixels = 0,
    y: Pixels = 0,
) -> Image:
    """A rectangle of pictures."""
    left, top = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, top : top + height, left : left + width]


def EmptyImage(
    width: Size = 512,
    height: Size = 512,
    batch_size: Batch = 1,
    color: Annotated[int, Between(0, 0xFFFFFF)] = 0,
) -> Image:
    """Pictures of one colour, 0xRRGGBB."""
    channels = np.asarray([color >> 16, color >> 8 & 255, color & 255], np.float32) / 127.5 - 1
    return np.broadcast_to(channels, (batch_size, height, width, 3)).copy()


def GetImageSize(image: Image) -> tuple[int, int, int]:
    """Width, height and number of pictures."""
    return int(image.shape[2]), int(image.shape[1]), len(image)


def ImagePadForOutpaint(
    image: Image,
    left: Pixels = 0,
    top: Pixels = 0,
    right: Pixels = 0,
    bottom: Pixels = 0,
    feathering: Pixels = 40,
) -> tuple[Image, Mask]:
    """Pictures in a grey frame, and the mask of the frame, which fades into the picture."""
    x = jnp.asarray(image)
    rows, columns = x.shape[1:3]
    frame = ((0, 0), (top, bottom), (left, right), (0, 0))
    distances = []
    for count, before, after in ((rows, top, bottom), (columns, left, right)):
        places = np.arange(count)
        far = np.full(count, np.inf)
        distances.append(np.minimum(places if before else far, count - places if after else far))
    nearest = np.minimum(distances[0][:, None], distances[1][None])
    inner = np.zeros((rows, columns))
    if feathering and feathering * 2 < min(rows, columns):
        inner = np.clip((feathering - nearest) / feathering, 0, 1) ** 2
    mask = np.pad(inner, frame[1:3], constant_values=1).astype(np.float32)
    return jnp.pad(x, frame), mask[None]


def InvertMask(mask: Mask) -> Mask:
    """What a mask is not."""
    return 1 - mask


def SolidMask(value: Share = 1.0, width: Size = 512, height: Size = 512) -> Mask:
    """A mask of one value."""
    return np.full((1, height, width), value, np.float32)


def ImageToMask(image: Image, channel: Literal["red", "green", "blue", "alpha"] = "red") -> Mask:
    """A channel of pictures as a mask."""
    place = ["red", "green", "blue", "alpha"].index(channel)
    if place >= image.shape[-1]:
        return jnp.zeros(image.shape[:-1])
    return (image[..., place] + 1) / 2


def MaskToImage(mask: Mask) -> Image:
    """A mask as grey pictures."""
    return jnp.repeat(2 * jnp.asarray(mask)[..., None] - 1, 3, axis=-1)


def GrowMask(
    mask: Mask,
    expand: Annotated[int, Between(-1024, 1024)] = 0,
    tapered_corners: bool = True,
) -> Mask:
    """A mask grown by a number of pixels, or shrunk; corners are round, or square."""
    found: Any = jnp.asarray(mask)
    grow = found if expand > 0 else 1 - found
    for _ in range(abs(expand)):
        around = [
            jnp.roll(jnp.pad(grow, ((0, 0), (1, 1), (1, 1))), shift, (1, 2)) for shift in CROSS
        ]
        square = jax.lax.reduce_window(grow, 0.0, jax.lax.max, (1, 3, 3), (1, 1, 1), "SAME")
        cross = jnp.stack(around).max(axis=0)[:, 1:-1, 1:-1]
        grow = cross if tapered_corners else square
    return grow if expand > 0 else 1 - grow


CROSS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
