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
        return _of_one_seed(jax.random.key(seed), index + np.asarray(first))
    places = np.broadcast_to(np.asarray(first), np.shape(seed))[index]
    return _of_seeds(np.asarray(seed, np.uint32)[index], places)


# Compiled, since a few-step sampler would wait for them: each operation alone costs as much.
@jax.jit
def _of_one_seed(key: Key[Array, ""], index: Integer[Array, " b"]) -> Key[Array, " b"]:
    return example_keys(stream(key, "sample"), index)


@jax.jit
def _of_seeds(seeds: Integer[Array, " b"], index: Integer[Array, " b"]) -> Key[Array, " b"]:
    one = lambda seed, i: jax.random.fold_in(stream(jax.random.key(seed), "sample"), i)
    return jax.vmap(one)(seeds, index)


def normal(keys: Key[Array, " b"], like: Float[Array, "b *shape"]) -> Float[Array, "b *shape"]:
    """Draws standard normal noise of the shape and type of `like`, each example from its key."""
    return jax.vmap(lambda key, x: jax.random.normal(key, x.shape, x.dtype))(keys, like)


def uniform(keys: Key[Array, " b"]) -> Float[Array, " b"]:
    """Draws one number in [0, 1) per example."""
    return jax.vmap(jax.random.uniform)(keys)
