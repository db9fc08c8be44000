"""Grids measured for a trained model, and their file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.diffusion.process import Process
from jaxdiff.files import read_json, write_json
from jaxdiff.options import Filled, checked


class Knots(NamedTuple):
    """A distribution of steps over times: the share `shares[i]` of them lies above `times[i]`.

    Times fall from the noise end to 0, shares rise from 0 to 1, both strictly.
    """

    times: Float[np.ndarray, " knots"]
    shares: Float[np.ndarray, " knots"]


def spread(knots: Knots, steps: int) -> Float[Array, " times"]:
    """Returns steps + 1 times at even shares, strictly decreasing to 0.

    They lie on the monotone cubic through the knots (Fritsch & Carlson 1980).

    Raises:
        ValueError: there are no steps, or more than the floats of the times can tell apart.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: a solver takes at least 1 steps on this grid")
    from scipy.interpolate import PchipInterpolator  # noqa: PLC0415 - takes tenths of a second

    curve = PchipInterpolator(knots.shares, knots.times)
    times = curve(np.linspace(0, 1, steps + 1))
    times[[0, -1]] = knots.times[0], 0
    times = times.astype(jnp.result_type(float))
    if not (times[:-1] > times[1:]).all():
        raise ValueError(f"steps={steps}: {times.dtype} cannot resolve as many times")
    return jnp.asarray(times)


@checked
@dataclass(frozen=True)
class Measured:
    """A grid dense where a model's local errors are large: see `analysis/local_error.py`.

    `path` is the file that `experiments/timesteps.py` writes for a run; it serves any number of
    steps, on the process for which it was made.
    """

    path: Annotated[str, Filled()]

    def __call__(self, process: Process, steps: int) -> Float[Array, " times"]:
        """Returns steps + 1 times, strictly decreasing to 0.

        Raises:
            ValueError: the file is missing, damaged, or made for another process.
        """
        return spread(read(self.path, process), steps)


def write(path: str | os.PathLike, process: Process, knots: Knots, **how: Any) -> None:
    """Writes the knots with the process for which they hold, and how they were found."""
    columns = {"time": knots.times, "angle": _angle(process, knots.times), "share": knots.shares}
    columns = {name: np.asarray(values, float).tolist() for name, values in columns.items()}
    write_json(path, {"process": str(process.schedule), **how, "knots": columns})


def read(path: str | os.PathLike, process: Process) -> Knots:
    """Reads the knots, of which the noise angles arctan(sigma/alpha) must be the process's.

    Raises:
        ValueError: the file is missing, damaged, or made for another process.
    """
    try:
        found = read_json(path)
    except ValueError as error:
        raise ValueError(f"Measured: {error}; experiments/timesteps.py writes it anew") from None
    try:
        columns = [_column(found["knots"][name]) for name in ("time", "angle", "share")]
        madefor, (times, angles, shares) = found["process"], columns
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"Measured: {path} is not a grid: it must have a process, and knots with columns of "
            "numbers time, angle and share"
        ) from None
    rising = shares[0] == 0 and shares[-1] == 1 and np.all(np.diff(shares) > 0)
    falling = times[0] <= 1 and times[-1] == 0 and np.all(np.diff(times) < 0)
    if not (len(times) == len(angles) == len(shares) and rising and falling):
        raise ValueError(
            f"Measured: {path} is damaged: times must fall to 0 and shares rise from 0 to 1"
        )
    if not np.allclose(angles, _angle(process, times), rtol=1e-3, atol=1e-6):
        raise ValueError(
            f"Measured: {path} was made for the process {madefor}, not for {process.schedule}; "
            "measure again with experiments/timesteps.py"
        )
    return Knots(times, shares)


def _column(values: Sequence[float]) -> np.ndarray:
    column = np.asarray(values, float)
    if column.ndim != 1 or len(column) < 2 or not np.isfinite(column).all():
        raise ValueError(values)
    return column


def _angle(process: Process, times: np.ndarray) -> np.ndarray:
    t = jnp.asarray(times, jnp.result_type(float))
    return np.asarray(process.angle(t))
