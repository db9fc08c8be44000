"""How one array lies in PyTorch's checkpoints and in our trees.

PyTorch keeps the weights of an affine map as [out, in, *space], we as [*space, in, out].
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

AnyArray = Any
"""An array of numpy or of JAX: every transform here works on both, and on tracers."""


class Layout(NamedTuple):
    """A pair of transforms that undo each other.

    `to_ours(array, shape)` is told the shape that we expect; `to_theirs(array)` needs none. The
    first axis of what `to_theirs` returns is that along which fused weights are joined.
    """

    name: str
    to_ours: Callable[[AnyArray, tuple[int, ...]], AnyArray]
    to_theirs: Callable[[AnyArray], AnyArray]


def _to_back(x: AnyArray) -> AnyArray:
    """[out, in, *space] -> [*space, in, out]."""
    return x.transpose(*range(2, x.ndim), 1, 0)


def _to_front(x: AnyArray) -> AnyArray:
    """[*space, in, out] -> [out, in, *space]."""
    return x.transpose(x.ndim - 1, x.ndim - 2, *range(x.ndim - 2))


AS_IS = Layout("as it is", lambda x, shape: x, lambda x: x)
"""Norms, biases, embeddings."""

KERNEL = Layout("kernel", lambda x, shape: _to_back(x), _to_front)
"""Linear maps (a transpose) and convolutions over one to three axes (OIHW to HWIO, ...)."""

POINTWISE_CONV = Layout(
    "their 1x1 convolution, our linear map",
    lambda x, shape: x.reshape(x.shape[:2]).T,
    lambda x: x.T[..., None, None],
)

POINTWISE_LINEAR = Layout(
    "their linear map, our 1x1 convolution",
    lambda x, shape: x.T[None, None],
    lambda x: x[0, 0].T,
)

HEADS = Layout(
    "into heads",
    lambda x, shape: x.T.reshape(shape),
    lambda x: x.reshape(x.shape[0], -1).T,
)
"""Their [heads·d, in] is our [in, heads, d]: queries, keys and values."""

FROM_HEADS = Layout(
    "out of heads",
    lambda x, shape: x.T.reshape(shape),
    lambda x: x.reshape(-1, x.shape[-1]).T,
)
"""Their [out, heads·d] is our [heads, d, out]: what follows the attention."""

FLAT = Layout("flat", lambda x, shape: x.reshape(shape), lambda x: x.reshape(-1))
"""Their vector is our array of any shape, such as the bias [heads, d] of `HEADS`."""


def over_ones(axes: int) -> Layout:
    """Returns the layout of their vector that has `axes` axes of one behind it."""
    return Layout(
        f"a vector over {axes} axes of one",
        lambda x, shape: x.reshape(shape),
        lambda x: x.reshape(-1, *(1,) * axes),
    )


ROWS = Layout("rows", lambda x, shape: x.reshape(shape), lambda x: x.reshape(-1, x.shape[-1]))
"""Their table of vectors has as a last row what is a vector of its own with us."""

ONE_IN_FRONT = Layout("theirs has an axis more", lambda x, shape: x[0], lambda x: x[None])


def _halves_swapped(x: AnyArray) -> AnyArray:
    half = x.shape[0] // 2
    return join([x[half:], x[:half]])


SWAPPED_KERNEL = Layout(
    "the halves of the outputs in the other order",
    lambda x, shape: _to_back(_halves_swapped(x)),
    lambda x: _halves_swapped(_to_front(x)),
)

SWAPPED = Layout(
    "the halves in the other order", lambda x, shape: _halves_swapped(x), _halves_swapped
)
"""The bias of `SWAPPED_KERNEL`."""


def patches(size: Sequence[int]) -> Layout:
    """Returns the layout of their convolution that steps by its size, our map of whole patches."""
    return Layout(
        "patches",
        lambda x, shape: _to_back(x).reshape(shape),
        lambda x: _to_front(x.reshape(*size, -1, x.shape[-1])),
    )


def join(parts: list[AnyArray]) -> AnyArray:
    """Joins arrays along the first axis."""
    if len(parts) == 1:
        return parts[0]
    return (np if isinstance(parts[0], np.ndarray) else jnp).concatenate(parts)


def divide(whole: AnyArray, sizes: list[int]) -> list[AnyArray]:
    """Divides an array along its first axis into parts of these sizes."""
    if len(sizes) == 1:
        return [whole]
    ends = np.cumsum(sizes)
    return [whole[end - size : end] for end, size in zip(ends, sizes, strict=True)]
