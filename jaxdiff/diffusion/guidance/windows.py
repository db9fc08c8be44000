"""Windows: panoramas, pictures larger than those of training, from predictions on their parts."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdiff.diffusion.guidance.branches import Guidance
from jaxdiff.diffusion.guidance.extrapolation import ClassifierFree, Scale
from jaxdiff.options import Size
from jaxdiff.trees import pytree
from jaxdiff.typing import Denoiser, Prediction


@pytree(data=("guidance_scale",))
@dataclass(frozen=True)
class Windows:
    """The mean of the predictions on all windows that have a pixel (Bar-Tal et al. 2023, eq. 5).

    This is MultiDiffusion. x0 and noise are averaged alike: both still give x_t. A condition
    that is a map of the size of x is cut as x is. In latents, sizes are in latents.

    Attributes:
        window: side of a window, that of training; a smaller side of x is taken whole.
        stride: the most by which neighbouring windows are apart; half of the window or less leaves
            no seams.
        of: guidance within a window; by default classifier-free, at `guidance_scale`.

    Raises:
        ValueError: the stride is larger than the window.
    """

    window: Size
    stride: Size
    guidance_scale: Scale = 1.0
    of: Guidance | None = None

    def __post_init__(self):
        if self.stride > self.window:
            raise ValueError(
                f"Windows: stride={self.stride} is larger than window={self.window}: pixels between"
                " windows would have no prediction"
            )

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the denoiser of x [b, ..., h, w, c] of any size."""
        guided = (self.of or ClassifierFree(self.guidance_scale))(denoiser)

        def in_windows(x: Array, t: Array, cond: dict) -> Prediction:
            *_, height, width, _ = x.shape
            size = min(self.window, height), min(self.window, width)
            tops, lefts = (
                starts(n, s, self.stride) for n, s in zip(x.shape[-3:-1], size, strict=True)
            )
            if len(tops) == len(lefts) == 1:
                return guided(x, t, cond)
            places = jnp.array([(top, left) for top in tops for left in lefts])
            cut = lambda a, place: _cut(a, place, size)
            is_map = lambda a: jnp.ndim(a) == x.ndim and a.shape[1:-1] == x.shape[1:-1]

            def predict(place):
                own = jax.tree.map(lambda a: cut(a, place) if is_map(a) else a, cond)
                return guided(cut(x, place), t, own)

            def add(total, place):
                counted = predict(place), jnp.ones((*size, 1), x.dtype)
                return jax.tree.map(lambda a, b: _added(a, b, place), total, counted), None

            whole = lambda a: jnp.zeros((*a.shape[:-3], height, width, a.shape[-1]), a.dtype)
            shapes = jax.eval_shape(predict, places[0])
            nothing = jax.tree.map(whole, shapes), jnp.zeros((height, width, 1), x.dtype)
            (total, count), _ = lax.scan(add, nothing, places)
            return jax.tree.map(lambda a: a / count, total)

        return in_windows


def starts(length: int, window: int, stride: int) -> list[int]:
    """Returns where windows begin: evenly, at most `stride` apart, the last at the end."""
    apart = -(-(length - window) // stride)
    return [round(i * (length - window) / apart) for i in range(apart + 1)] if apart else [0]


def _cut(x: Array, place: Array, size: tuple[int, int]) -> Array:
    rows = lax.dynamic_slice_in_dim(x, place[0], size[0], axis=-3)
    return lax.dynamic_slice_in_dim(rows, place[1], size[1], axis=-2)


def _added(total: Array, part: Array, place: Array) -> Array:
    at = (*(0,) * (total.ndim - 3), place[0], place[1], 0)
    here = _cut(total, place, (part.shape[-3], part.shape[-2]))
    return lax.dynamic_update_slice(total, here + part, at)
