"""Pictures made larger and smaller, by the names of other tools' methods."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

METHODS = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp"]
CROPS = Literal["disabled", "center"]

OURS = {"nearest-exact": "nearest", "bilinear": "linear", "bicubic": "cubic", "lanczos": "lanczos3"}


def resized(
    x: Float[Array, "n h w c"] | Float[np.ndarray, "n h w c"],
    size: tuple[int, int],
    method: str,
    crop: str = "disabled",
) -> Float[Array, "n h2 w2 c"]:
    """Returns pictures or latents of another height and width.

    Bicubic has Keys' coefficient -1/2 (PyTorch's has -3/4); Lanczos smooths what is made smaller.
    With crop="center", what is beyond the new shape is cut off first.

    Raises:
        ValueError: the method is not here.
    """
    x = jnp.asarray(x)
    if crop == "center":
        x = centered(x, size)
    if x.shape[1:3] == size:
        return x
    if method == "area":
        rows, columns = (_averages(n, m) for n, m in zip(x.shape[1:3], size, strict=True))
        return jnp.einsum("ih,jw,nhwc->nijc", rows, columns, x)
    if method not in OURS:
        known = ", ".join([*OURS, "area"])
        raise ValueError(f"upscale_method={method!r} is not here; there are {known}")
    shape = (len(x), *size, x.shape[-1])
    return jax.image.resize(x, shape, OURS[method], antialias=method == "lanczos")


def centered(x: Float[Array, "n h w c"], size: tuple[int, int]) -> Float[Array, "n h2 w2 c"]:
    """Returns the middle of pictures, of the shape, though not the size, of `size`."""
    height, width = x.shape[1:3]
    wanted, found = size[1] / size[0], width / height
    left = round((width - width * wanted / found) / 2) if found > wanted else 0
    top = round((height - height * found / wanted) / 2) if found < wanted else 0
    return x[:, top : height - top, left : width - left]


def _averages(n: int, m: int) -> Float[np.ndarray, "m n"]:
    """Returns the matrix of averages over the old places that a new one covers."""
    begin = np.arange(m) * n // m
    end = -(-(np.arange(m) + 1) * n // m)
    places = np.arange(n)
    covered = (places >= begin[:, None]) & (places < end[:, None])
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
