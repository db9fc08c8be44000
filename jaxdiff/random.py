"""Randomness that belongs to the example: the same numbers in any batch and on any devices."""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key


def stream(keys: Key[Array, "*b"], name: str) -> Key[Array, "*b"]:
    """Derives independent keys for a named purpose ("time", "noise", ...)."""
    return fold_in(keys, jnp.uint32(zlib.crc32(name.encode())))


def fold_in(keys: Key[Array, "*b"], data: Integer[Array, ""] | int) -> Key[Array, "*b"]:
    """Folds one integer into every key."""
    fold = lambda key: jax.random.fold_in(key, data)
    return jax.vmap(fold)(keys.reshape(-1)).reshape(keys.shape) if keys.ndim else fold(keys)


def example_keys(key: Key[Array, ""], index: Integer[Array, " b"]) -> Key[Array, " b"]:
    """Returns one key per example from its global index."""
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def normal(keys: Key[Array, " b"], like: Float[Array, "b *shape"]) -> Float[Array, "b *shape"]:
    """Draws standard normal noise of the shape and type of `like`, each example from its key."""
    return jax.vmap(lambda key, x: jax.random.normal(key, x.shape, x.dtype))(keys, like)


def uniform(keys: Key[Array, " b"]) -> Float[Array, " b"]:
    """Draws one number in [0, 1) per example."""
    return jax.vmap(jax.random.uniform)(keys)
