"""The layout of an array in PyTorch's checkpoints and in our trees.

Weights of an affine map are [out, in, *space] in PyTorch, and [*space, in, out] here.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from einops import rearrange

AnyArray = Any
"""An array of numpy or of JAX, or a tracer: every transform here works on all."""


class Layout(NamedTuple):
    """A pair of transforms that undo each other.

    `to_ours(array, shape)` needs the shape of the result, `to_theirs(array)` does not. Fused
    weights are joined along the first axis of the output of `to_theirs`.
    """

    name: str
    to_ours: Callable[[AnyArray, tuple[int, ...]], AnyArray]
    to_theirs: Callable[[AnyArray], AnyArray]


def _to_back(x: AnyArray) -> AnyArray:
    return rearrange(x, "o i ... -> ... i o")


def _to_front(x: AnyArray) -> AnyArray:
    return rearrange(x, "... i o -> o i ...")


AS_IS = Layout("as it is", lambda x, shape: x, lambda x: x)
"""Norms, biases, embeddings."""

KERNEL = Layout("kernel", lambda x, shape: _to_back(x), _to_front)
"""Linear maps (a transpose) and convolutions over one to three axes (OIHW to HWIO, ...)."""


@functools.cache
def pointwise(axes: int) -> Layout:
    """Returns the layout of a convolution of size 1 over some axes, which is a linear map here."""
    return Layout(
        f"a convolution of size 1 over {axes} axes in the checkpoint, a linear map here",
        lambda x, shape: x.reshape(x.shape[:2]).T,
        lambda x: x.T.reshape(*x.T.shape, *(1,) * axes),
    )


POINTWISE_CONV = pointwise(2)

POINTWISE_LINEAR = Layout(
    "a linear map in the checkpoint, a 1x1 convolution here",
    lambda x, shape: x.T[None, None],
    lambda x: x[0, 0].T,
)

HEADS = Layout(
    "into heads",
    lambda x, shape: x.T.reshape(shape),
    lambda x: x.reshape(x.shape[0], -1).T,
)
"""[heads·d, in] in the checkpoint, [in, heads, d] here: queries, keys and values."""

FROM_HEADS = Layout(
    "out of heads",
    lambda x, shape: x.T.reshape(shape),
    lambda x: x.reshape(-1, x.shape[-1]).T,
)
"""[out, heads·d] in the checkpoint, [heads, d, out] here: the map after attention."""

FLAT = Layout("flat", lambda x, shape: x.reshape(shape), lambda x: x.reshape(-1))
"""A vector in the checkpoint, any shape here, such as the bias [heads, d] of `HEADS`."""


def over_ones(axes: int) -> Layout:
    """Returns the layout of a vector with `axes` more axes of length 1 in the checkpoint."""
    return Layout(
        f"a vector over {axes} axes of one",
        lambda x, shape: x.reshape(shape),
        lambda x: x.reshape(-1, *(1,) * axes),
    )


ROWS = Layout("rows", lambda x, shape: x.reshape(shape), lambda x: x.reshape(-1, x.shape[-1]))
"""The last row of an embedding in the checkpoint is a separate null vector here."""

ONE_IN_FRONT = Layout("one more axis in the checkpoint", lambda x, shape: x[0], lambda x: x[None])


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
    """Returns the layout of a convolution that steps by its size; here, a map of flat patches."""
    return Layout(
        "patches",
        lambda x, shape: _to_back(x).reshape(shape),
        lambda x: _to_front(x.reshape(*size, -1, x.shape[-1])),
    )


def join(parts: list[AnyArray], groups: int = 1) -> AnyArray:
    """Joins arrays along the first axis, in which they may alternate in equal groups."""
    if len(parts) == 1:
        return parts[0]
    parts = [rearrange(part, "(g n) ... -> g n ...", g=groups) for part in parts]
    joined = (np if isinstance(parts[0], np.ndarray) else jnp).concatenate(parts, 1)
    return rearrange(joined, "g n ... -> (g n) ...")


def divide(whole: AnyArray, sizes: list[int], groups: int = 1) -> list[AnyArray]:
    """Divides an array along its first axis into parts of these sizes; undoes `join`."""
    if len(sizes) == 1:
        return [whole]
    whole = rearrange(whole, "(g n) ... -> g n ...", g=groups)
    ends = np.cumsum([size // groups for size in sizes])
    parts = [whole[:, end - n // groups : end] for end, n in zip(ends, sizes, strict=True)]
    return [rearrange(part, "g n ... -> (g n) ...") for part in parts]
