"""Orders of convergence of solvers: to a mixture's exact flow, to the moments of a Gaussian."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from jaxdiff.config.build import build
from jaxdiff.diffusion import schedules, solvers
from jaxdiff.diffusion.analysis.local_error import begun_at
from jaxdiff.diffusion.oracles import Gaussian, GaussianMixture
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.schedules import Schedule
from jaxdiff.typing import Denoiser, Prediction, Solver, Span


@dataclass(frozen=True, eq=False)
class OneOf:
    """One of several schedules by a traced index, so that one program measures a solver on all."""

    schedules: tuple[Schedule, ...]
    index: Integer[Array, ""]

    def alpha(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns alpha of the chosen schedule."""
        return jnp.stack([s.alpha(t) for s in self.schedules])[self.index]

    def sigma(self, t: Float[Array, "*t"]) -> Float[Array, "*t"]:
        """Returns sigma of the chosen schedule."""
        return jnp.stack([s.sigma(t) for s in self.schedules])[self.index]


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


def padded(grids: Sequence[Float[Array, " _"]]) -> Float[Array, "grids times"]:
    """Stacks grids, the last times of shorter ones repeated; steps of no length are left out."""
    longest = max(len(times) for times in grids)
    return jnp.stack([jnp.pad(t, (0, longest - len(t)), mode="edge") for t in grids])


STARTS = 16
EXACT_STARTS = 4
"""The number of earlier steps that a multistep method of order 5 uses."""


def distance(
    solver: Solver, process: Process, times: Float[Array, " times"], exact_starts: Array | int = 0
) -> Float[Array, ""]:
    """Returns the mean distance to the exact flow over `STARTS` starting points.

    With `exact_starts`, up to four, the first steps are taken from points of the exact flow, so
    that a multistep method has the history that it needs, with the x of a corrector. Without, its
    first steps, of order 1, leave an error of order 2.
    """
    oracle = mixture(process)
    z = jnp.linspace(-1.5, 1.5, STARTS)[:, None]
    at = lambda t: jnp.full(STARTS, t)
    start = process.perturb(Prediction(x0=z, noise=z), at(times[0])) / np.sqrt(2)
    flow = lambda t: oracle.flow(start, at(times[0]), at(t))
    exact = jax.vmap(flow)(times[: EXACT_STARTS + 1])
    keys = jax.random.split(jax.random.key(0), STARTS)
    solved = _march(solver, oracle, exact, exact_starts, times, lambda i: keys)
    return jnp.abs(solved - flow(times[-1])).mean()


def errors(
    solver: Solver,
    process: Process,
    grids: Sequence[Float[Array, " _"]],
    *,
    exact_starts: int = 0,
) -> list[float]:
    """Returns the `distance` on each of the grids."""
    measure = lambda times: distance(solver, process, times, exact_starts)
    return jax.jit(jax.vmap(measure))(padded(grids)).tolist()


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
    solver = build(solvers, spec, process=process)
    if isinstance(solver, solvers.Adaptive):
        raise ValueError(f"solver={spec!r} chooses its steps itself: they cannot be placed for it")
    if getattr(solver, "stochastic", True):
        raise ValueError(
            f"solver={spec!r} draws noise, and an error is measured without; "
            "name a deterministic one, such as DDIM"
        )
    with jax.enable_x64(True):
        return max(1, round(order(solver, process)))


def evaluations(solver: Solver, process: Process, steps: int = 5) -> list[int]:
    """Returns the number of evaluations of the denoiser after each of the first steps."""
    count = 0

    def tick(_):
        nonlocal count
        count += 1

    def counting(x, t, cond):
        jax.debug.callback(tick, t[0])
        return mixture(process)(x, t, cond)

    @jax.jit
    def step(x, t, s, history):
        return solver.step(counting, x, Span(t, s, keys, steps), {}, history)

    times, keys = interior(process, steps)[:, None], jax.random.split(jax.random.key(0), 1)
    x, found = jnp.zeros((1, 1)), []
    history = solver.init(x)
    for t, s in itertools.pairwise(times):
        x, history = jax.block_until_ready(step(x, t, s, history))
        jax.effects_barrier()
        found.append(count)
    return found


def steps_within(asked: Sequence[int], budget: int) -> int:
    """Returns the number of steps within a budget of evaluations, at least one.

    `asked` has the counts of `evaluations`; later steps need as many as the last of them.
    """
    each = asked[-1] - asked[-2]
    within = sum(count <= budget for count in asked)
    more = max(budget - asked[-1], 0) // each
    return max(within + more, 1)


DRAWS = 32
"""An upper bound on the draws of noise in one step."""


def weak_error(solver: Solver, process: Process, times: Float[Array, " times"]) -> Float[Array, ""]:
    """Returns the relative error of a Gaussian's deviation plus that of its mean, without sampling.

    The denoiser of a Gaussian is linear in x, and so is every solver's step: a sample is the sum of
    its mean and of each draw of noise times a number. Coordinate j of one example is made to follow
    the j-th of these: the draws are unit vectors, and the sum of squares is the variance.
    """
    mean, std = 0.5, 0.4
    steps = len(times) - 1
    unit = lambda j: jax.nn.one_hot(j, 2 + DRAWS * steps, dtype=times.dtype)
    gaussian = Gaussian(process, mean * unit(0), std)

    def moments(t):
        alpha, sigma = process.schedule.alpha(t), process.schedule.sigma(t)
        return alpha * mean, jnp.sqrt((alpha * std) ** 2 + sigma**2)

    first, spread = moments(times[0])
    start = (first * unit(0) + spread * unit(1))[None]
    keys_of = lambda i: jnp.array([2 + DRAWS * i])
    x = _march(solver, gaussian, start[None], 0, times, keys_of, _unit_noise(unit))
    exact_mean, exact_std = moments(times[-1])
    found_std = jnp.sqrt((x[0, 1:] ** 2).sum())
    return (jnp.abs(x[0, 0] - exact_mean) + jnp.abs(found_std - exact_std)) / exact_std


def _unit_noise(unit: Callable[[Array], Array]) -> type[Span]:
    """Returns spans whose draws are unit vectors, so that squared norms of x are variances.

    Their keys are numbers of coordinates; each stream and each number moves on by some.
    """
    streams: dict[str, int] = {}

    class UnitNoise(Span):
        def noise(self, like: Array, *parts: Any) -> Array:
            named = lambda part: 1 + 6 * streams.setdefault(part, len(streams))
            moved = [named(part) if isinstance(part, str) else part for part in parts]
            return jax.vmap(unit)(self.keys + sum(moved))

    return UnitNoise


def _march(
    solver: Solver,
    denoiser: Denoiser,
    exact: Array,
    count: Array | int,
    times: Array,
    keys_of: Callable[[Array], Array],
    span_of: type[Span] = Span,
) -> Array:
    """Solves from the first of the exact points, and begins again at each of the next `count`."""
    size = exact.shape[1]
    steps = (times[1:] != times[:-1]).sum()
    at = lambda t: jnp.full(size, t)

    def step(carry, ends):
        x, history = carry
        i, t, s = ends
        x = jnp.where(i <= count, exact[jnp.minimum(i, len(exact) - 1)], x)
        span = span_of(at(t), at(s), keys_of(i), steps)
        new_x, new_history = solver.step(denoiser, x, span, {}, history)
        on_flow = lambda began, own: jnp.where(i <= count, began, own)
        new = new_x, jax.tree.map(on_flow, begun_at(x, new_history), new_history)
        return jax.tree.map(lambda n, old: jnp.where(s == t, old, n), new, (x, history)), None

    first = exact[0], solver.init(exact[0])
    number = jnp.arange(len(times) - 1)
    return jax.lax.scan(step, first, (number, times[:-1], times[1:]))[0][0]
