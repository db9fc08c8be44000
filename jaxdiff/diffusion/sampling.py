"""Sampling: the loop of all solvers, one scan."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Cond, Denoiser, Prediction, Solver, Span


def noised(
    process: Process,
    keys: Key[Array, " b"],
    x0: Float[Array, "b *shape"],
    t: Float[Array, "*frames"],
) -> Float[Array, "b *shape"]:
    """Noises data to x_t, each example by its key: sampling starts here from an image."""
    noise = random.normal(random.stream(keys, "prior"), x0)
    at = jnp.broadcast_to(t, (len(x0), *jnp.shape(t)))
    return process.perturb(Prediction(x0=x0, noise=noise), at)


def prior(
    process: Process,
    keys: Key[Array, " b"],
    like: Float[Array, "b *shape"],
    t: Float[Array, "*frames"],
) -> Float[Array, "b *shape"]:
    """Draws the noise from which sampling starts, each example by its key: x_t of zeros."""
    return noised(process, keys, jnp.zeros_like(like), t)


def sample(
    solver: Solver,
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    times: Float[Array, "times *frames"],
    cond: Cond,
    keys: Key[Array, " b"],
) -> Float[Array, "b *shape"]:
    """Takes `x` at `times[0]` to `times[-1]`, step by step, in one scan.

    With times [times, f], x [b, f, ...] has a grid for each frame; a frame whose times do not
    change keeps its x, if the solver's step of no length does nothing.

    Raises:
        ValueError: a grid for each frame, and a solver that remembers earlier steps.
    """
    return _scan(solver, denoiser, x, times, cond, keys, lambda x: None)[0]


def trajectory(
    solver: Solver,
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    times: Float[Array, "times *frames"],
    cond: Cond,
    keys: Key[Array, " b"],
) -> Float[Array, "times b *shape"]:
    """Returns `x` at each of the times; the last is what `sample` returns."""
    _, xs = _scan(solver, denoiser, x, times, cond, keys, lambda x: x)
    return jnp.concatenate([x[None], xs])


def invert(
    solver: Solver,
    denoiser: Denoiser,
    x0: Float[Array, "b *shape"],
    times: Float[Array, "times *frames"],
    cond: Cond,
    keys: Key[Array, " b"],
) -> Float[Array, "b *shape"]:
    """Encodes data as noise by a deterministic solver run backwards (Song, J. et al. 2021, 4.3).

    The data stand for x at the last time but one of the sampling grid `times`: at the last, sigma
    is zero, and many networks are not defined. Sampling the result on the same grid decodes it.

    Raises:
        ValueError: the solver is stochastic, or does not say that it is not; the grid has one step.
    """
    if getattr(solver, "stochastic", True):
        raise ValueError(
            f"invert: {solver} adds noise, which cannot be undone; take a deterministic solver, "
            "whose attribute `stochastic` is False, such as DDIM (eta=0) or Heun"
        )
    if hasattr(solver, "needs"):
        raise ValueError(f"invert: {solver} leads to the data only; take DDIM or Heun")
    if len(times) < 3:
        raise ValueError(f"invert: a grid of {len(times) - 1} steps; at least 2 are needed")
    return sample(solver, denoiser, x0, times[-2::-1], cond, keys)


def within(times: Float[Array, " times"], t_start: float, t_end: float) -> Float[Array, " inner"]:
    """Returns the part of a grid from `t_start` down to `t_end`, both of them included.

    Raises:
        ValueError: not 0 <= t_end < t_start <= 1.
    """
    if not 0 <= t_end < t_start <= 1:
        raise ValueError(
            f"t_start={t_start} and t_end={t_end}: 0 <= t_end < t_start <= 1 must hold"
        )
    inner = times[(times < t_start) & (times > t_end)]
    return jnp.concatenate([jnp.full(1, t_start), inner, jnp.full(1, t_end)])


def _scan(solver, denoiser, x, times, cond, keys, emit):
    keys = random.stream(keys, "solver")
    steps, history = len(times) - 1, solver.init(x)
    if times.ndim > 1 and jax.tree.leaves(history):
        raise ValueError(
            f"{solver} remembers the times of earlier steps, one for each example: a grid for each"
            " frame needs a solver of single steps, such as DDIM, Heun or DDPM"
        )

    def step(carry, at):
        x, history = carry
        t, s, index = at
        span = Span(
            t=jnp.broadcast_to(t, (len(x), *t.shape)),
            s=jnp.broadcast_to(s, (len(x), *s.shape)),
            keys=random.fold_in(keys, index),
            steps=steps,
        )
        x, history = solver.step(denoiser, x, span, cond, history)
        return (x, history), emit(x)

    (x, _), emitted = jax.lax.scan(step, (x, history), (times[:-1], times[1:], jnp.arange(steps)))
    return x, emitted
