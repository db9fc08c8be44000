"""How fast a solver converges: its error against the exact probability flow of a mixture."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.build import build
from jaxdiff.diffusion import schedules, solvers
from jaxdiff.diffusion.oracles import GaussianMixture
from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Prediction, Solver, Span


def mixture(process: Process) -> GaussianMixture:
    """Returns three Gaussians on a line, overlapping enough for the flow to be smooth."""
    return GaussianMixture(
        process,
        weights=jnp.array([0.3, 0.5, 0.2]),
        means=jnp.array([[-1.0], [0.4], [1.5]]),
        stds=jnp.array([0.5, 0.4, 0.6]),
    )


def interior(process: Process, steps: int) -> Float[Array, " times"]:
    """Returns times evenly spaced in log-SNR between -4 and 6, away from both ends."""
    return process.time(jnp.linspace(-4.0, 6.0, steps + 1))


def errors(
    solver: Solver,
    process: Process,
    grids: Sequence[Float[Array, " _"]],
    *,
    exact_starts: int | Sequence[int] = 0,
) -> list[float]:
    """Returns, for each grid, the mean distance to the exact flow over 16 starting points.

    With `exact_starts` (one number, or one for each grid), as many steps are taken from points of
    the exact flow before the solver is left alone, so that a multistep method has the history that
    it wants: without, its first steps, of order 1, leave an error of order 2.
    """
    oracle = mixture(process)
    z = jnp.linspace(-1.5, 1.5, 16)[:, None]
    at = lambda t: jnp.full(16, t)
    counts = np.broadcast_to(exact_starts, len(grids))

    def distance(times, count):
        start = oracle_start(process, z, times[0])
        flow = lambda t: oracle.flow(start, at(times[0]), at(t))
        exact = jax.vmap(flow)(times[: max(counts) + 1])
        return jnp.abs(_solve(solver, oracle, exact, count, times) - flow(times[-1])).mean()

    # Shorter grids repeat their last time, where a step is left out: one program serves all.
    longest = max(len(times) for times in grids)
    padded = jnp.stack([jnp.pad(t, (0, longest - len(t)), mode="edge") for t in grids])
    return jax.jit(jax.vmap(distance))(padded, jnp.asarray(counts)).tolist()


def order(
    solver: Solver, process: Process, steps: Sequence[int] = (64, 256), exact_starts: int = 4
) -> float:
    """Returns the slope of log error against log steps between two noise levels."""
    grids = [interior(process, n) for n in steps]
    coarse, fine = errors(solver, process, grids, exact_starts=exact_starts)
    return float(np.log(coarse / fine) / np.log(steps[1] / steps[0]))


def order_of(spec: str) -> int:
    """Measures the order of a deterministic solver by its name, as a whole number from 1.

    Raises:
        ValueError: the solver is unknown, draws noise, or chooses its steps itself.
    """
    process = Process(schedules.Cosine())
    solver, oracle = build(solvers, spec, process=process), mixture(process)
    if isinstance(solver, solvers.Adaptive):
        raise ValueError(f"solver={spec!r} chooses its steps itself: they cannot be placed for it")
    x, at, keys = jnp.zeros((2, 1)), jnp.full(2, 0.6), jax.random.split(jax.random.key(0), 2)
    step = lambda x, at: solver.step(oracle, x, Span(at, at - 0.1, keys, 10), {}, solver.init(x))
    ends, _ = jax.jit(step)(x, at)
    if ends[0] != ends[1]:
        raise ValueError(
            f"solver={spec!r} draws noise, and an error is measured without; "
            "name a deterministic one, such as DDIM"
        )
    with jax.enable_x64(True):
        return max(1, round(order(solver, process)))


def evaluations(solver: Solver, process: Process, steps: int = 8) -> float:
    """Returns the mean number of times that the denoiser is asked per step, at run time."""
    count = 0

    def tick(_):
        nonlocal count
        count += 1

    def counting(x, t, cond):
        jax.debug.callback(tick, t[0])
        return mixture(process)(x, t, cond)

    times = interior(process, steps)
    start = oracle_start(process, jnp.zeros((1, 1)), times[0])
    solve = jax.jit(lambda start, times: _solve(solver, counting, start[None], 0, times))
    jax.block_until_ready(solve(start, times))
    jax.effects_barrier()
    return count / steps


def oracle_start(process: Process, z: Float[Array, "b d"], t: Float[Array, ""]) -> Array:
    """Returns starting points at the scale that the data have at time t."""
    return process.perturb(Prediction(x0=z, noise=z), jnp.full(len(z), t)) / np.sqrt(2)


def _solve(solver, denoiser, exact, count, times):
    """Solves from the first of the exact points, and begins again at each of the next `count`."""
    size, steps = exact.shape[1], len(times) - 1
    keys = jax.random.split(jax.random.key(0), size)
    at = lambda t: jnp.full(size, t)

    def step(carry, ends):
        x, history = carry
        i, t, s = ends
        x = jnp.where(i <= count, exact[jnp.minimum(i, len(exact) - 1)], x)
        new = solver.step(denoiser, x, Span(at(t), at(s), keys, steps), {}, history)
        return jax.tree.map(lambda n, old: jnp.where(s == t, old, n), new, (x, history)), None

    first = exact[0], solver.init(exact[0])
    return jax.lax.scan(step, first, (jnp.arange(steps), times[:-1], times[1:]))[0][0]
