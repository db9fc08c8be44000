"""Known pixels, put into every prediction of x0."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from einops import reduce
from jax.typing import ArrayLike
from jaxtyping import Array, Bool

from jaxdiff.diffusion.guidance.branches import with_x0
from jaxdiff.diffusion.process import Process
from jaxdiff.trees import pytree, replaced
from jaxdiff.typing import Denoiser


@pytree(data=("mask", "known"))
@dataclass(frozen=True)
class KnownPixels:
    """Inpainting: x0 replaced where it is known, as DDNM does for a mask (Wang, Y. et al. 2023).

    `mask` is True where `known` is; both have the shape of x, or broadcast to it.
    """

    process: Process
    mask: ArrayLike
    known: ArrayLike

    def in_latents(self, encode: Callable, decode: Callable) -> "KnownPixels":
        """Returns the same problem for latents, which are known where all of their pixels are."""
        known = encode(self.known)
        return replaced(self, known=known, mask=latent_mask(self.mask, known.shape[1:]))

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """Returns the denoiser with these pixels in its x0."""

        def guided(x, t, cond):
            prediction = denoiser(x, t, cond)
            x0 = jnp.where(self.mask, self.known, prediction.x0)
            return with_x0(self.process, prediction, x0, t)

        return guided


def latent_mask(mask: ArrayLike, shape: tuple[int, ...]) -> Bool[Array, "b *latent 1"]:
    """Returns the mask of latents [h2, w2, d]: True where every pixel under a latent is known.

    Of clips, latents [f2, h2, w2, d], the first latent frame is that of the first frame, and each
    other one that of as many frames, as codecs that are causal in time divide them.

    Raises:
        ValueError: the sides of the image are not multiples of those of the latents.
    """
    mask = jnp.asarray(mask)
    size, latent = mask.shape[1:-1], shape[:-1]
    # Pixels are clips of one frame.
    (frames, *sides), (latent_frames, *latent_sides) = (
        each if len(each) == 3 else (1, *each) for each in (size, latent)
    )
    between, later = frames - 1, latent_frames - 1
    fits = len(size) == len(latent) in (2, 3) and (between % later == 0 if later else not between)
    if not fits or any(n % m for n, m in zip(sides, latent_sides, strict=True)):
        raise ValueError(f"mask: {size} pixels are not whole multiples of latents of {latent}")
    rows, columns = (n // m for n, m in zip(sides, latent_sides, strict=True))
    found = reduce(mask, "b ... (h r) (w q) c -> b ... h w 1", "min", r=rows, q=columns)
    if not later:
        return found
    others = reduce(found[:, 1:], "b (f k) h w c -> b f h w c", "min", f=later)
    return jnp.concatenate([found[:, :1], others], axis=1)
