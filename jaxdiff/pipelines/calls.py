"""The arguments of a call that draws pictures, in the form of the sampler's."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from jaxdiff.options import Share, check
from jaxdiff.tasks.sampler import Sampler

SCORE, UNGUIDED_SCORE = 6.0, 2.5
"""The aesthetic score that SDXL's refiner reads where none is given, and without guidance."""


def conditions_of(
    cond: str | Mapping[str, Any] | None, numbers: Collection[str] = ()
) -> dict[str, Any]:
    """Returns conditions by name; a text alone is the prompt.

    `numbers` are those that the network reads. An aesthetic score among them is a good one.
    """
    given = {"text": cond} if isinstance(cond, str) else dict(cond or {})
    return {"aesthetic_score": (SCORE,), **given} if "aesthetic_score" in numbers else given


def part_of_grid(
    sampler: Sampler, weights: Any, image: Any, strength: float, options: Mapping[str, Any]
) -> dict[str, float]:
    """Returns the ends of the last steps of a grid: a share `strength` of them, rounded down."""
    check("strength", Share, strength)
    if image is None:
        raise ValueError(f"strength={strength}: give the image to begin from")
    if {"t_start", "t_end"} & set(options):
        raise ValueError("strength stands for t_start and t_end: give either")
    grid = {k: v for k, v in options.items() if k in ("timesteps", "steps", "solver")}
    times = np.asarray(sampler.times(weights, **grid))
    steps = len(times) - 1
    done = int(steps * strength)
    if done < 1:
        raise ValueError(f"strength={strength} of {steps} steps is none: take more steps")
    return {"t_start": float(times[steps - done]), "t_end": float(times[-1])}
