"""Options of sampling, and the solver, guidance and times that they name."""

import functools
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.config.build import build
from jaxdiff.diffusion import guidance as guidances
from jaxdiff.diffusion import sampling, solvers, timesteps
from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.options import Range, Size, Steps, taken
from jaxdiff.tasks import students
from jaxdiff.tasks.model import Model, bound_of_run
from jaxdiff.training.loop import NonFiniteError
from jaxdiff.trees import replaced
from jaxdiff.typing import Solver

Grid = Float[Array, " times"]


@dataclass(frozen=True)
class Options:
    """How samples are drawn, where a call does not choose otherwise.

    The grid of times is used between `t_start` and `t_end`; 1 is noise, 0 is data.
    """

    solver: Any = "DDIM"
    timesteps: Any = "Uniform"
    steps: Steps = 50
    guidance: Any = "ClassifierFree"
    guidance_scale: guidances.Scale = 1.0
    batch_size: Size = 64
    t_start: Annotated[float, Range(gt=0, le=1)] = 1.0
    t_end: Annotated[float, Range(ge=0, lt=1)] = 0.0

    def changed(self, **changes: Any) -> "Options":
        """Returns the options with those changes that are not None.

        Raises:
            ValueError: an option is unknown, or of a wrong type or range.
        """
        known = {field.name: field.type for field in fields(self)}
        if unknown := sorted(set(changes) - set(known)):
            raise ValueError(f"unknown options {unknown}; known: {', '.join(known)}")
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(self, **{n: taken(n, known[n], value) for n, value in given.items()})


def solver_of(options: Options, model: Model, learns: str) -> Solver:
    """Returns the solver that the options name.

    Raises:
        ValueError: it is unknown, or needs another prediction than the model has learned.
    """
    solver = build(solvers, options.solver, process=model.process)
    students.check_solver(solver, learns)
    return solver


def guidance_of(options: Options, model: Model, shape: tuple[int, ...], guided: float) -> Any:
    """Returns the guidance that the options name, with its weak model of examples of this shape.

    `guided` is the guidance scale that the model's own samples have.

    Raises:
        ValueError: it is unknown, or the model cannot be guided so.
    """
    guide = build(
        guidances,
        options.guidance,
        process=model.process,
        parameterization=model.parameterization,
        guidance_scale=options.guidance_scale,
    )
    guide = students.guidance_of(guide, options.guidance_scale, model.scalars, guided)
    return guidances.simplified(_with_weak_model(guide, shape))


def times_of(options: Options, process: Process, parameterization: Parameterization) -> Grid:
    """Returns the times [steps + 1] that the options name.

    Raises:
        ValueError: the grid is unknown, or the model predicts nothing at one of the times.
    """
    arguments = (
        process,
        parameterization,
        build(timesteps, options.timesteps),
        options.steps,
        options.t_start,
        options.t_end,
        jax.config.values["jax_enable_x64"],
    )
    try:
        hash(arguments)
    except TypeError:  # a learned schedule's values
        return _times.__wrapped__(*arguments)
    return _times(*arguments)


@functools.lru_cache(maxsize=64)
def _times(
    process: Process,
    parameterization: Parameterization,
    grid: Any,
    steps: int,
    t_start: float,
    t_end: float,
    double: bool,
) -> Grid:
    times = grid(process, steps)
    if (t_start, t_end) != (1.0, 0.0):
        times = sampling.within(times, t_start, t_end)
    process.check(parameterization, times[:-1])
    return times


def _with_weak_model(guide: Any, shape: tuple[int, ...]) -> Any:
    """Returns guidance whose weak model, if it is named by its run's folder, is loaded."""
    changes = {}
    if isinstance(weak := getattr(guide, "weak", None), str):
        changes["weak"] = bound_of_run(weak, shape)
    if (inner := getattr(guide, "of", None)) is not None:
        changes["of"] = _with_weak_model(inner, shape)
    return replaced(guide, **changes) if changes else guide


def check_finite(samples: np.ndarray, chosen: Options) -> None:
    """Raises NonFiniteError, which says how many samples are not finite."""
    finite = np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)
    if not finite.all():
        raise NonFiniteError(
            f"{(~finite).sum()} of {len(samples)} samples are not finite, the first at index "
            f"{np.argmin(finite)}, with solver={chosen.solver!r}, steps={chosen.steps} and "
            f"guidance_scale={chosen.guidance_scale}: take more steps or another solver, or look "
            "at the weights"
        )
