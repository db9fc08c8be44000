"""Checksums of arrays: one flipped bit is found, on any mesh."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped, UInt32

from jaxdiff.trees import leaf_names


class DamagedError(ValueError):
    """An array has not the values that were written."""


def checksums(tree: Any) -> dict[str, int]:
    """Returns a checksum of each array of a tree, by its name, 0..2³² - 1."""
    names, arrays = leaf_names(tree), jax.tree.leaves(tree)
    return {name: int(sum_) for name, sum_ in zip(names, map(_checksum, arrays), strict=True)}


def check(tree: Any, written: Mapping[str, int]) -> None:
    """Compares arrays with the checksums from when they were written; others are not looked at.

    Raises:
        DamagedError: an array differs; says which.
    """
    found = checksums(tree)
    changed = [name for name in found if name in written and found[name] != written[name]]
    if changed:
        raise DamagedError(f"the values of {changed[0]!r} are not those that were written")


@jax.jit
def _checksum(array: Shaped[Array, "..."]) -> UInt32[Array, ""]:
    """Sums over the elements a hash of bits and index.

    The sum has no order, so an array is summed where it lies, in one pass, and the result does not
    depend on its sharding. For a given index the hash is one-to-one in the bits, so a change to a
    single element always changes the sum.
    """
    index, stride = jnp.zeros(array.shape, jnp.uint32), 1
    for axis in reversed(range(array.ndim)):
        step = jnp.uint32(stride % 2**32)
        index += step * jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
        stride *= array.shape[axis]
    bits = _bits(array)
    if bits.ndim > index.ndim:  # 64 bits are two words
        index = 2 * index[..., None] + jnp.arange(2, dtype=jnp.uint32)
    return _mix(bits ^ _mix(index)).sum(dtype=jnp.uint32)


def _bits(array: Shaped[Array, "..."]) -> UInt32[Array, "..."]:
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32)
    size = array.dtype.itemsize
    word = {1: jnp.uint8, 2: jnp.uint16}.get(size, jnp.uint32)
    return jax.lax.bitcast_convert_type(array, word).astype(jnp.uint32)


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Returns a one-to-one scramble of 32 bits (the finalizer of MurmurHash3)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
