"""Local errors of a solver on a model's probability flow, and the grid of times that they suggest.

A step of size h of a method of order p errs by C(u)·h^(p+1), u being any smooth coordinate along
the way. With steps of density rho, h = 1/(steps·rho), the errors of all steps sum to
steps^-p·∫ C·rho^-p du. Under ∫ rho du = 1 that is least for rho ∝ C^(1/(p+1)), where every step
errs alike: the equidistribution of de Boor (1973), here for errors of samples. The same density is
best if the errors are independent and their squares add. Sabour et al. (2024) and Xue et al. (2024)
optimise grids by other bounds, for each number of steps apart.

Errors count at the data, so each is carried there: the flow goes on from the end of the step as
from the true path, and the difference at t = 0 is the error of the step. Two coordinates in which
errors could be taken where they arise were tried instead, for DPM-Solver++(2M) at 10 to 50 steps:
x/alpha, in which they keep their size near the data, left samples 1.2 to 6 times as far from the
exact ones (a Gaussian, two mixtures), x/√(alpha² + sigma²) 0.9 to 3 times; on a small U-Net of
digits they differed by a third at most, either way. Carrying costs, per step measured, one solution
with half of the fine steps.

The coordinate is the root of the noise angle arctan(sigma/alpha): finite at both ends, and dense
near the data, where scales differ. Measuring again in the coordinate of the grid found did not make
it better. The mean over examples is that of squares: where samples pass close to a divide between
modes, few of them rule it, and many are needed.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import reduce
from jaxtyping import Array, Float, Int, Key
from numpy.typing import ArrayLike

from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import trajectory
from jaxdiff.diffusion.solvers import RK4
from jaxdiff.diffusion.timesteps.measured import Knots
from jaxdiff.typing import Cond, Denoiser, Solver, Span

INTERVALS, STRIDE = 32, 2
"""Of the fine way, and how many of them one measured step takes: 16 steps from noise to data."""

HISTORY = 3
"""Exact steps before a measured one, for a solver that remembers: enough for order 4."""

FLOOR = 0.01
"""The least density, as a share of the largest: where errors vanish, steps still have an end."""


def fine_times(process: Process, intervals: int = INTERVALS) -> Float[Array, " times"]:
    """Returns times [intervals + 1] from 1 to 0, even in the root of the noise angle."""
    last = process.angle(jnp.ones(()))
    times = process.time_of_angle(last * jnp.linspace(1.0, 0.0, intervals + 1) ** 2)
    return times.at[0].set(1).at[-1].set(0)


def fine_path(
    process: Process,
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    times: Float[Array, " times"],
    cond: Cond,
    keys: Key[Array, " b"],
) -> Float[Array, "times b *shape"]:
    """Returns the probability flow from `x` at the first of the times, by RK4."""
    return trajectory(RK4(process), denoiser, x, times, cond, keys)


def solve(
    solver: Solver,
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    times: Float[Array, " times"],
    first: Int[Array, ""] | int,
    last: Int[Array, ""] | int,
    cond: Cond,
    keys: Key[Array, " b"],
) -> Float[Array, "b *shape"]:
    """Takes `x` from `times[first]` to `times[last]`; both indices may be traced.

    The solver is a deterministic one: its keys are the same in every step.
    """

    def step(i, carry):
        x, history = carry
        return solver.step(denoiser, x, _span(times, i, i + 1, keys), cond, history)

    return jax.lax.fori_loop(first, last, step, (x, solver.init(x)))[0]


def local_error(
    process: Process,
    solver: Solver,
    denoiser: Denoiser,
    path: Float[Array, "times b *shape"],
    times: Float[Array, " times"],
    place: Int[Array, ""] | int,
    cond: Cond,
    keys: Key[Array, " b"],
    stride: int = STRIDE,
) -> Float[Array, " b"]:
    """Returns the mean squared error at t = 0 that one step leaves in each example.

    The step goes from `times[place]`, on the fine path, to `times[place + stride]`. A solver that
    remembers has taken steps of the same size from points of the path before.
    """

    def step(n, before):
        start, end = (jnp.maximum(place + k * stride, 0) for k in (n, n + 1))
        span = _span(times, start, end, keys)
        x, history = solver.step(denoiser, path[start], span, cond, before[1])
        after = x, begun_at(path[start], history)
        return jax.tree.map(lambda b, a: jnp.where(start == end, b, a), before, after)

    nothing = solver.init(path[0])
    earlier = HISTORY if jax.tree.leaves(nothing) else 0
    x, _ = jax.lax.fori_loop(-earlier, 1, step, (path[place], nothing))
    x = solve(RK4(process), denoiser, x, times, place + stride, len(times) - 1, cond, keys)
    return squared_distance(x, path[-1])


def local_errors(
    process: Process,
    solver: Solver,
    denoiser: Denoiser,
    x: Float[Array, "b *shape"],
    cond: Cond,
    keys: Key[Array, " b"],
) -> tuple[Float[Array, " times"], Float[Array, " places"]]:
    """Returns the fine times, and the RMS over examples of the errors of the steps between them.

    `x` is noise at t = 1. Step i goes from time i to time i + `STRIDE`.
    """
    times = fine_times(process)
    path = fine_path(process, denoiser, x, times, cond, keys)
    error = lambda i: local_error(process, solver, denoiser, path, times, i, cond, keys).mean()
    return times, jnp.sqrt(jax.lax.map(error, jnp.arange(len(times) - STRIDE)))


def place_steps(times: ArrayLike, errors: ArrayLike, order: int) -> Knots:
    """Returns the best distribution of steps of a method of this order, from `local_errors`.

    The density is errors^(1/(order + 1)), its logarithm smoothed over three neighbours and
    interpolated between the middles of the steps.

    Raises:
        ValueError: an error is not finite, or all are zero.
    """
    times, errors = np.asarray(times, float), np.asarray(errors, float)
    if not np.isfinite(errors).all() or not errors.any():
        raise ValueError(f"local errors must be finite and not all zero; they are {errors}")
    density = errors ** (1 / (order + 1))
    logs = np.log(np.maximum(density, FLOOR * density.max()))
    padded = np.pad(logs, 1, mode="edge")
    logs = (padded[:-2] + 2 * logs + padded[2:]) / 4
    places = np.arange(len(times))
    stride = len(times) - len(errors)
    density = np.exp(np.interp(places, places[: len(errors)] + stride / 2, logs))
    shares = np.cumsum(np.append(0, (density[1:] + density[:-1]) / 2))
    return Knots(times, shares / shares[-1])


def begun_at(x: Float[Array, "b *shape"], history: Any) -> Any:
    """Returns a solver's history as it is if the last step began at `x`, a point of the exact flow.

    A history holds predictions at the x that were given. One with a field `x`, where the last step
    began after its correction, also holds the solver's own path.
    """
    return history._replace(x=x) if hasattr(history, "x") else history


def squared_distance(
    x: Float[Array, "b *shape"], y: Float[Array, "b *shape"]
) -> Float[Array, " b"]:
    """Returns the mean squared difference of each example."""
    return reduce((x - y) ** 2, "b ... -> b", "mean")


def _span(times, start, end, keys) -> Span:
    at = lambda i: jnp.broadcast_to(times[i], len(keys))
    return Span(at(start), at(end), keys, len(times) - 1)
