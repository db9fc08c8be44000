"""Editing: noise that reproduces a picture, replayed under another condition; ways between noises.

DDIM inversion is `sampling.invert`. The inversion here is of stochastic steps, whose noise keeps
more of the picture when the condition changes (Huberman-Spiegelglas et al. 2024).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.diffusion.solvers import DDIM
from jaxdiff.typing import Cond, Data, Denoiser, Prediction, Span

Times = Float[Array, " times"]


class Replay(NamedTuple):
    """A picture as x at every time but the last, and the noise of the steps between.

    `x` is [times - 1, b, ...], the picture last; `noise` [times - 2, b, ...]; `times` those of `x`.
    """

    x: Float[Array, "points b *shape"]
    noise: Float[Array, "steps b *shape"]
    times: Float[Array, " points"]

    def later(self, first: int) -> "Replay":
        """Returns the part from the `first` time on: the more is left out, the less can change."""
        return Replay(self.x[first:], self.noise[first:], self.times[first:])


def edit_friendly(
    solver: DDIM, denoiser: Denoiser, x0: Data, times: Times, cond: Cond, keys: Key[Array, " b"]
) -> Replay:
    """Returns the noise with which stochastic steps lead to a picture (ibid., algorithm 1).

    Each x_t has a noise of its own, and the noise of a step is that which leads from one to the
    next. As in `sampling.invert`, the picture stands for x at the last time but one.

    Args:
        solver: DDIM with eta above 0; 1 in the paper.
        denoiser: of the model, with guidance or without.
        x0: pictures, in the space of diffusion.
        times: the grid of a sampling, from 1 to 0.
        cond: the condition of the pictures as they are.
        keys: of each picture.

    Raises:
        ValueError: the solver adds no noise, or the grid has one step.
    """
    if solver.eta == 0:
        raise ValueError("edit_friendly: eta=0 adds no noise; take DDIM(eta=1.0), or `invert`")
    if len(times) < 3:
        raise ValueError(f"edit_friendly: a grid of {len(times) - 1} steps; at least 2 are needed")
    times = times[:-1]
    noised = lambda i, t: solver.process.perturb(
        Prediction(x0, random.normal(random.fold_in(random.stream(keys, "edit"), i), x0)),
        jnp.full(len(x0), t),
    )
    x = jax.vmap(noised)(jnp.arange(len(times) - 1), times[:-1])
    x = jnp.concatenate([x, x0[None]])

    def step(_, at):
        x_t, x_s, t, s = at
        mean, spread = _moved(solver, denoiser, x_t, t, s, cond, keys)
        return None, (x_s - mean) / spread

    _, noise = jax.lax.scan(step, None, (x[:-1], x[1:], times[:-1], times[1:]))
    return Replay(x, noise, times)


def replay(solver: DDIM, denoiser: Denoiser, of: Replay, cond: Cond) -> Data:
    """Returns the picture that the noise leads to; under the same condition, the same picture."""

    def step(x, at):
        noise, t, s = at
        mean, spread = _moved(solver, denoiser, x, t, s, cond, None)
        return mean + spread * noise, None

    return jax.lax.scan(step, of.x[0], (of.noise, of.times[:-1], of.times[1:]))[0]


def slerp(a: Data, b: Data, share: Float[Array, ""] | float) -> Data:
    """Returns the noise at a share of the arc from `a` to `b`, each example's (Shoemake 1985).

    Unlike a mean, it has the norm of noise, so that a model knows it. Parallel ones are mixed.
    """
    flat_a, flat_b = (rearrange(x, "b ... -> b (...)") for x in (a, b))
    unit = lambda x: x / jnp.linalg.norm(x, axis=1, keepdims=True)
    cos = jnp.clip((unit(flat_a) * unit(flat_b)).sum(1, keepdims=True), -1, 1)
    angle = jnp.arccos(cos)
    apart = jnp.sin(angle) > 1e-4
    sin = jnp.where(apart, jnp.sin(angle), 1.0)
    first = jnp.where(apart, jnp.sin((1 - share) * angle) / sin, 1 - share)
    second = jnp.where(apart, jnp.sin(share * angle) / sin, share)
    return (first * flat_a + second * flat_b).reshape(a.shape)


def _moved(solver, denoiser, x, t, s, cond, keys):
    at = lambda time: jnp.full(len(x), time)
    span = Span(at(t), at(s), keys, 1)
    return solver.transition(denoiser(x, span.t, cond), x, span)
