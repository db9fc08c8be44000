"""The protocol of grids of times, their ends, and their checks."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxdiff.diffusion.process import Process
from jaxdiff.typing import Scalar


@runtime_checkable
class Timesteps(Protocol):
    """A grid of times."""

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0."""


def reachable(process: Process, steps: int, wanted: Scalar) -> Float[Array, ""]:
    """Returns log(sigma/alpha) of the first of `steps` times: `wanted`, or the highest possible.

    Where alpha(1) = 0, noise levels grow without bound towards t = 1, and neighbouring floats may
    be further apart than a step: by 1/k in log-SNR at the k-th float below 1, if alpha falls as
    √(1 - t), and by less if it falls more slowly. The last max(steps/8, 4) floats are left out,
    which is enough for steps of 10/steps. Where alpha falls faster, usual noise levels are far from
    the end. `falling` raises if two times are equal all the same.
    """
    end = jnp.ones(())
    last = 1 - max(steps / 8, 4) * jnp.finfo(end.dtype).epsneg
    levels = -process.logsnr(jnp.stack([end, last])) / 2
    return jnp.minimum(wanted, jnp.where(jnp.isinf(levels[0]), levels[1], levels[0]))


def before_the_end(process: Process, wanted: float) -> tuple[Float[Array, ""], int]:
    """Returns log(sigma/alpha) of the last noise level, and 1 if its time is 0, else 0.

    The level is `wanted`, and t = 0 follows, without noise. Where t = 0 has more noise than wanted
    (`schedules.Learned`), it is the level of t = 0.
    """
    least = -process.logsnr(jnp.zeros(())) / 2
    noisy = bool(least >= wanted)
    return jnp.where(noisy, least, wanted), int(noisy)


def falling(
    grid: Timesteps, process: Process, times: Float[Array, " steps"]
) -> Float[Array, " times"]:
    """Appends the data's time 0; raises ValueError unless the times are strictly decreasing."""
    times = jnp.append(times, 0.0)
    if not isinstance(times, Tracer):
        bad = int(np.sum(~(np.diff(times) < 0)))
        if bad:
            raise ValueError(
                f"{grid} with steps={len(times) - 1}: on {process.schedule}, {bad} times are not "
                f"below the one before: {times.dtype} cannot tell them apart; take fewer steps, or "
                "a narrower range of noise levels"
            )
    return times


def check_steps(steps: int, at_most: int | None = None) -> None:
    """Raises ValueError unless there are steps, and no more than a grid has places for."""
    if steps < 1 or (at_most is not None and steps > at_most):
        limit = "at least 1" if at_most is None else f"from 1 to {at_most}"
        raise ValueError(f"steps={steps}: a solver takes {limit} steps on this grid")


def check_noise_levels(grid: Any) -> None:
    """Raises ValueError unless sigma_min < sigma_max."""
    if not grid.sigma_min < grid.sigma_max:
        raise ValueError(
            f"{type(grid).__name__}: sigma_min={grid.sigma_min} is not below"
            f" sigma_max={grid.sigma_max}"
        )
