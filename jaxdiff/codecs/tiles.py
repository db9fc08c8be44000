"""Autoencoders applied to a large image in tiles, and to a long clip in chunks."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import lax
from jaxtyping import Array, Float, Int

from jaxdiff.networks.resampling import level_sizes
from jaxdiff.networks.video_autoencoder.layers import HISTORY
from jaxdiff.networks.video_autoencoder.settings import check_frames
from jaxdiff.options import Count, Width, checked


@checked
@dataclass(frozen=True)
class Tiled:
    """An autoencoder applied to overlapping tiles, and to chunks of a clip; for use in `Latents`.

    Chunks of a `VideoAutoencoder` are exact: it keeps the frames that the next chunk needs. Tiles
    are exact with `blend=False` for a local network: a `VideoAutoencoder` without middle attention,
    at an overlap of twice its settings' `encoder_radius` or `decoder_radius`. Middle attention and
    group norms depend on all places of a tile: tiles then differ from the full image, and blending
    hides the seams.

    Outside of `jit`, one compiled program serves images and clips of any size: that of a tile, or
    with `frames` two, for the first frame and for a chunk.

    Attributes:
        autoencoder: an object with `settings` and `apply` with the methods "encode" and "decode".
        tile: height and width of a tile, in latents; None for no tiles.
        overlap: least number of latents that neighbouring tiles share.
        blend: whether tiles are averaged with linear weights in the overlap; otherwise each fills
            half of it.
        frames: number of frames of a chunk after the first, in latents; None for no chunks.

    Raises:
        ValueError: a number is out of range, or `frames` is given for images.
    """

    autoencoder: Any
    tile: Width | None = 64
    overlap: Count = 16
    blend: bool = True
    frames: Width | None = None

    def __post_init__(self):
        if self.tile is not None and self.overlap >= self.tile:
            raise ValueError(
                f"tile={self.tile}, overlap={self.overlap}: the overlap must be below the tile"
            )
        named = isinstance(self.autoencoder, str | Mapping)  # a spec, which `Latents` builds
        if self.frames is not None and not named and not hasattr(self.settings, "frame_factor"):
            raise ValueError(f"frames={self.frames}: only an autoencoder of clips has chunks")

    @property
    def settings(self) -> Any:
        """The autoencoder's settings."""
        return self.autoencoder.settings

    def apply(self, variables: Mapping[str, Any], x: Float[Array, "b *size c"], method: str) -> Any:
        """Returns the output of the autoencoder, computed tile by tile.

        Raises:
            ValueError: the method is unknown; any error of the autoencoder.
        """
        if method not in ("encode", "decode"):
            raise ValueError(f"method={method!r} must be 'encode' or 'decode'")
        factor = self.settings.factor
        into, out = (factor, 1) if method == "encode" else (1, factor)
        if method == "encode":
            level_sizes(x.shape[-3:-1], len(self.settings.channels))
        whole = tuple(n // into for n in x.shape[-3:-1])
        run = functools.partial(self._in_chunks, variables, method=method)
        if self.tile is None or max(whole) <= self.tile:
            return run(x)

        windows = lambda n: _windows(n, self.tile, self.overlap, self.blend, out)
        (top, rows), (left, columns) = map(windows, whole)
        size = tuple(min(self.tile, n) * into for n in whole)
        tile = jax.ShapeDtypeStruct((*x.shape[:-3], *size, x.shape[-1]), x.dtype)
        like = jax.eval_shape(run, tile)
        total = jax.tree.map(
            lambda leaf: jnp.zeros(
                (*leaf.shape[:-3], *(n * out for n in whole), leaf.shape[-1]), jnp.float32
            ),
            like,
        )

        def add(total, place):
            row, column = place
            found = run(_cut(x, into * top[row], into * left[column], size))
            at = (out * top[row], out * left[column])
            return _add(total, found, rows[row], columns[column], at), ()

        places = [(row, column) for row in range(len(top)) for column in range(len(left))]
        total, _ = _scan(add, total, tuple(jnp.array(places).T))
        return jax.tree.map(lambda leaf, given: leaf.astype(given.dtype), total, like)

    def _in_chunks(self, variables: Mapping[str, Any], x: Array, method: str) -> Any:
        if self.frames is None:
            return _whole(self.autoencoder, method, variables, x)
        factor = self.settings.frame_factor
        size, count = self.frames, x.shape[1] - 1
        if method == "encode":
            check_frames(x.shape[1], factor)
            size *= factor
        chunk = functools.partial(_chunk, self.autoencoder, method, variables)
        begin, history = chunk({}, x[:, :1])
        if not count:
            return begin
        # No frame depends on a later one, so the padding changes no frame that is kept.
        rest = jnp.pad(x[:, 1:], ((0, 0), (0, -count % size), *((0, 0),) * 3), mode="edge")
        chunks = rearrange(rest, "b (n f) h w c -> n b f h w c", f=size)

        def following(history, piece):
            output, history = chunk(history, piece)
            return history, output

        _, outputs = _scan(following, history, chunks)
        frames = 1 + (count // factor if method == "encode" else count * factor)

        def joined(first, later):
            later = rearrange(later, "n b f h w c -> b (n f) h w c")
            return jnp.concatenate([first, later], axis=1)[:, :frames]

        return jax.tree.map(joined, begin, outputs)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _whole(autoencoder: Any, method: str, variables: Mapping[str, Any], x: Array) -> Any:
    return autoencoder.apply(variables, x, method=method)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _chunk(
    autoencoder: Any, method: str, variables: Mapping[str, Any], history: Any, x: Array
) -> tuple[Any, Any]:
    variables = {**variables, HISTORY: history}
    output, kept = autoencoder.apply(variables, x, method=method, mutable=[HISTORY])
    return output, kept[HISTORY]


@functools.partial(jax.jit, static_argnums=3)
def _cut(x: Array, top: Array, left: Array, size: tuple[int, int]) -> Array:
    x = lax.dynamic_slice_in_dim(x, top, size[0], axis=x.ndim - 3)
    return lax.dynamic_slice_in_dim(x, left, size[1], axis=x.ndim - 2)


@jax.jit
def _add(total: Any, tile: Any, rows: Array, columns: Array, at: tuple[Array, Array]) -> Any:
    weights = (rows[:, None] * columns)[..., None]

    def added(total, tile):
        before = _cut(total, *at, tile.shape[-3:-1])
        place = (*(0 for _ in tile.shape[:-3]), *at, 0)
        return lax.dynamic_update_slice(total, before + weights * tile, place)

    return jax.tree.map(added, total, tile)


def _scan(step: Callable, carry: Any, inputs: Any) -> tuple[Any, Any]:
    """`lax.scan`; outside of `jit` a Python loop, which compiles the same step for any length."""
    leaves = jax.tree.leaves((carry, inputs))
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return lax.scan(step, carry, inputs)
    outputs = []
    for i in range(len(jax.tree.leaves(inputs)[0])):
        carry, output = step(carry, jax.tree.map(lambda leaf: leaf[i], inputs))
        outputs.append(output)
    return carry, jax.tree.map(lambda *parts: jnp.stack(parts), *outputs)


def _windows(
    size: int, tile: int, overlap: int, blend: bool, scale: int
) -> tuple[Int[Array, " n"], Float[Array, "n tile"]]:
    """Returns the starts of tiles along an axis of `size`, and the weights of their places.

    Tiles are evenly spaced. Weights have `scale` places for each place of a tile, and those of all
    tiles sum to one at every place.
    """
    count = max(-(-(size - tile) // (tile - overlap)), 0) + 1
    tile = min(tile, size)
    starts = np.linspace(0, size - tile, count).round().astype(int)
    places = np.arange(size * scale) + 0.5
    begin, end = starts[:, None] * scale, (starts[:, None] + tile) * scale
    depth = np.maximum(np.minimum(places - begin, end - places), 0)
    if blend:
        weights = np.minimum(depth, max(overlap * scale, 1))
        # Also where there is one tile only: its weight becomes one.
        weights = weights / weights.sum(0)
    else:
        weights = depth.argmax(0) == np.arange(count)[:, None]
    parts = [weights[i, begin[i, 0] : end[i, 0]] for i in range(count)]
    return jnp.asarray(starts), jnp.asarray(np.stack(parts), jnp.float32)
