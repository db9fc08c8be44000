"""Randomness that belongs to the example: the same numbers in any batch and on any devices."""

import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
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


def sample_keys(
    seed: int | Sequence[int], first: int | Sequence[int], index: Integer[np.ndarray, " b"]
) -> Key[Array, " b"]:
    """Returns the key of each sample at the places `index`: that of its seed and its index.

    With one seed, sample i has index first + i; with a seed for each, its own in `first`.
    """
    if not isinstance(seed, Sequence):
        key = stream(jax.random.key(seed), "sample")
        return example_keys(key, jnp.asarray(index + np.asarray(first)))
    one = lambda s, i: jax.random.fold_in(stream(jax.random.key(s), "sample"), i)
    places = np.broadcast_to(np.asarray(first), np.shape(seed))[index]
    return jax.vmap(one)(jnp.asarray(np.asarray(seed, np.uint32)[index]), jnp.asarray(places))


def normal(keys: Key[Array, " b"], like: Float[Array, "b *shape"]) -> Float[Array, "b *shape"]:
    """Draws standard normal noise of the shape and type of `like`, each example from its key."""
    return jax.vmap(lambda key, x: jax.random.normal(key, x.shape, x.dtype))(keys, like)


def uniform(keys: Key[Array, " b"]) -> Float[Array, " b"]:
    """Draws one number in [0, 1) per example."""
    return jax.vmap(jax.random.uniform)(keys)
