"""Attend-and-excite: x_t moves so that named words get attention (Chefer et al. 2023)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Data, Denoiser, Solver, Span

SHARPNESS = 100.0
"""Factor of the maps before their softmax over the tokens, as in the authors' program."""


@pytree(data=("solver", "loss", "until", "rate"))
@dataclass(frozen=True)
class Excited:
    """A solver before whose steps x moves along -rate·√(1 - share/2) ∇ loss(x) (ibid., eq. 4).

    `share` of the way from noise, t = 1, to data, as the authors' rate falls.

    Attributes:
        solver: makes the steps.
        loss: `(x, t, cond) -> [b]`, such as `least_excitation` of a network's maps.
        until: the time of each example up to which it moves.
        rate: of the gradient, of each example.
        iterations: gradient steps before each step.
    """

    solver: Solver
    loss: Callable[[Data, Array, Cond], Float[Array, " b"]]
    until: Float[Array, " b"]
    rate: Float[Array, " b"]
    iterations: int = 1

    @property
    def stochastic(self) -> bool:
        """Returns True: the steps cannot be undone."""
        return True

    def init(self, x: Data) -> Any:
        """Returns the solver's history."""
        return self.solver.init(x)

    def step(
        self, denoiser: Denoiser, x: Data, span: Span, cond: Cond, history: Any
    ) -> tuple[Data, Any]:
        """Returns `x` after the gradient steps and the solver's step."""
        acts = span.t > self.until
        rate = jnp.where(acts, self.rate * jnp.sqrt(1 - (1 - span.t) / 2), 0.0)
        rate = jnp.expand_dims(rate, range(1, x.ndim))
        slope = jax.grad(lambda x: self.loss(x, span.t, cond).sum())
        one = lambda _, x: x - rate * slope(x)
        move = lambda x: jax.lax.fori_loop(0, self.iterations, one, x)
        x = jax.lax.cond(acts.any(), move, lambda x: x, x)
        return self.solver.step(denoiser, x, span, cond, history)


def least_excitation(
    maps: Sequence[Float[Array, "b _ k"]],
    shape: tuple[int, int],
    words: Bool[Array, "b words k"],
    text: Bool[Array, "b k"],
) -> Float[Array, " b"]:
    """Returns 1 - max over places of a word's smoothed map, of the least word (ibid., eq. 2, 3).

    Of the layers those count that have nearest to a sixteenth of the places of x; the maps' mean is
    made sharp by a softmax over the tokens of the text, without those at its ends. A word of
    several tokens has their mean.

    Args:
        maps: of attention to the text, for each layer.
        shape: height and width of x.
        words: the tokens of each word; rows without tokens do not count.
        text: the tokens of all words of the prompt.
    """
    wanted = shape[0] * shape[1] / 16
    places = min({each.shape[1] for each in maps}, key=lambda n: abs(n - wanted))
    mean = jnp.stack([each for each in maps if each.shape[1] == places]).mean(0)
    logits = jnp.where(text[:, None], SHARPNESS * mean.astype(jnp.float32), -jnp.inf)
    sharp = jax.nn.softmax(logits)
    counts = jnp.maximum(words.sum(-1), 1)[:, None]
    of_words = jnp.einsum("bqk,bwk->bqw", sharp, words.astype(sharp.dtype)) / counts
    height = round((places * shape[0] / shape[1]) ** 0.5)
    smooth = _smoothed(rearrange(of_words, "b (h w) s -> b h w s", h=height))
    lacks = 1 - smooth.max(axis=(1, 2))
    return jnp.where(words.any(-1), lacks, 0).max(axis=1)


def _smoothed(maps: Float[Array, "b h w s"], deviation: float = 0.5) -> Float[Array, "b h w s"]:
    """Returns maps under a Gaussian of three places on a side, their edges repeated."""
    side = jnp.exp(-0.5 / deviation**2)
    kernel = jnp.array([side, 1.0, side]) / (1 + 2 * side)
    for axis in (1, 2):
        pad = [(1, 1) if n == axis else (0, 0) for n in range(4)]
        padded, length = jnp.pad(maps, pad, mode="edge"), maps.shape[axis]
        parts = [jax.lax.slice_in_dim(padded, i, i + length, axis=axis) for i in range(3)]
        maps = jnp.einsum("k,kbhws->bhws", kernel, jnp.stack(parts))
    return maps
