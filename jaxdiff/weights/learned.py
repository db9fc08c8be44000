"""Schedules, weightings and time distributions with trained parameters or running statistics.

Such a part sits where a fixed one would, as a field of a process, an objective or a solver. Its
values are kept by its place, the path of fields that leads to it: "objective.time_sampling". All
objects of an experiment share one process, so a path begins anew at each field `process`, and the
model, the objective and the solver find the same values under "process.schedule".
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Array, Float

from jaxdiff.trees import replaced
from jaxdiff.typing import Draw, Metrics

Values = Mapping[str, Any]
"""A tree of arrays for each part's place."""

Owner = TypeVar("Owner")

PROCESS = "process"
"""The field at which places begin anew."""


@runtime_checkable
class LearnedPart(Protocol):
    """A part with parameters, trained together with the network's."""

    def init(self) -> Any:
        """Returns the first parameters, which an unbound part uses."""

    def bind(self, params: Any) -> Any:
        """Returns the part with these parameters."""


@runtime_checkable
class AdaptivePart(Protocol):
    """A part with running statistics of the losses."""

    def begin(self) -> Any:
        """Returns the first statistics, which an unbound part uses."""

    def bind(self, statistics: Any) -> Any:
        """Returns the part with these statistics."""

    def observe(self, draw: Draw, loss: Float[Array, "b *frames"], metrics: Metrics) -> Any:
        """Returns a summary of a batch's losses, to be averaged over all batches."""

    def absorb(self, observed: Any) -> Any:
        """Returns the new statistics."""


def parts(owner: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yields place and object of all learned and adaptive parts of nested dataclasses."""
    if isinstance(owner, LearnedPart | AdaptivePart):
        yield place, owner
    for name, value in _fields(owner):
        yield from parts(value, _below(place, name))


def init(owner: Any, place: str) -> dict[str, Any]:
    """Returns the first parameters of all learned parts."""
    return {at: part.init() for at, part in parts(owner, place) if isinstance(part, LearnedPart)}


def begin(owner: Any, place: str) -> dict[str, Any]:
    """Returns the first statistics of all adaptive parts."""
    return {at: part.begin() for at, part in parts(owner, place) if isinstance(part, AdaptivePart)}


def bind(owner: Owner, values: Values, place: str) -> Owner:
    """Returns the object with the values of its parts put in; parts without values stay."""
    changed = {}
    for name, value in _fields(owner):
        bound = bind(value, values, _below(place, name))
        if bound is not value:
            changed[name] = bound
    owner = replaced(owner, **changed) if changed else owner
    known = isinstance(owner, LearnedPart | AdaptivePart) and place in values
    part: Any = owner
    return part.bind(values[place]) if known else owner


def observe(
    owner: Any, draw: Draw, loss: Float[Array, "b *frames"], metrics: Metrics, place: str
) -> dict[str, Any]:
    """Returns each adaptive part's summary of an objective's losses and metrics."""
    adaptive = (each for each in parts(owner, place) if isinstance(each[1], AdaptivePart))
    return {at: part.observe(draw, loss, metrics) for at, part in adaptive}


def absorb(owner: Any, observed: Values, place: str) -> dict[str, Any]:
    """Returns the new statistics of the adaptive parts of an object bound to the old ones."""
    adaptive = (each for each in parts(owner, place) if isinstance(each[1], AdaptivePart))
    return {at: part.absorb(observed[at]) for at, part in adaptive}


def _below(place: str, field: str) -> str:
    return field if field == PROCESS or not place else f"{place}.{field}"


def _fields(owner):
    if dataclasses.is_dataclass(owner) and not isinstance(owner, type):
        for field in dataclasses.fields(owner):
            if field.init:
                yield field.name, getattr(owner, field.name, None)
