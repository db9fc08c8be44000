"""Parts of the mathematics that are not settings: learned by gradient, or following the losses.

A schedule, a weighting or a distribution of times may be a `Learned` or an `Adaptive` part. It sits
where a fixed one would, as a field of a process, a model, an objective or a solver; `bind` puts the
current values into all such parts of an object, however deep. Values are kept by the part's name,
so that the model and the objective share one schedule.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from jaxtyping import Array, Float

from jaxdiff.typing import Draw, Metrics

Values = Mapping[str, Any]
"""A tree of arrays for each part's name."""

Whole = TypeVar("Whole")


@runtime_checkable
class Learned(Protocol):
    """A part with parameters, trained together with the network's; unbound, it has the first."""

    part_name: ClassVar[str]

    def init(self) -> Any:
        """Returns the first parameters."""

    def bind(self, params: Any) -> Any:
        """Returns the part with these parameters."""


@runtime_checkable
class Adaptive(Protocol):
    """A part with statistics of the losses; unbound, it has none yet."""

    part_name: ClassVar[str]

    def begin(self) -> Any:
        """Returns the first statistics."""

    def bind(self, statistics: Any) -> Any:
        """Returns the part with these statistics."""

    def observe(self, draw: Draw, loss: Float[Array, " b"], metrics: Metrics) -> Any:
        """Returns what a batch's losses and metrics say, to be averaged over all batches."""

    def absorb(self, observed: Any) -> Any:
        """Returns the new statistics."""


def parts(whole: Any) -> Iterator[Learned | Adaptive]:
    """Yields the learned and adaptive parts of nested dataclasses, the whole among them."""
    if isinstance(whole, Learned | Adaptive):
        yield whole
    for _, value in _fields(whole):
        yield from parts(value)


def init(whole: Any) -> dict[str, Any]:
    """Returns the first parameters of all learned parts."""
    return {part.part_name: part.init() for part in parts(whole) if isinstance(part, Learned)}


def begin(whole: Any) -> dict[str, Any]:
    """Returns the first statistics of all adaptive parts."""
    return {part.part_name: part.begin() for part in parts(whole) if isinstance(part, Adaptive)}


def bind(whole: Whole, values: Values) -> Whole:
    """Returns the object with the values of its parts put in; parts without values stay."""
    changed = {}
    for name, value in _fields(whole):
        bound = bind(value, values)
        if bound is not value:
            changed[name] = bound
    whole = dataclasses.replace(whole, **changed) if changed else whole
    known = isinstance(whole, Learned | Adaptive) and whole.part_name in values
    return whole.bind(values[whole.part_name]) if known else whole


def observe(whole: Any, draw: Draw, loss: Float[Array, " b"], metrics: Metrics) -> dict[str, Any]:
    """Returns what an objective's losses and metrics say to each adaptive part."""
    chosen = (part for part in parts(whole) if isinstance(part, Adaptive))
    return {part.part_name: part.observe(draw, loss, metrics) for part in chosen}


def absorb(whole: Any, observed: Values) -> dict[str, Any]:
    """Returns the new statistics of all adaptive parts of an object that is bound to the old."""
    chosen = (part for part in parts(whole) if isinstance(part, Adaptive))
    return {part.part_name: part.absorb(observed[part.part_name]) for part in chosen}


def _fields(whole):
    if dataclasses.is_dataclass(whole) and not isinstance(whole, type):
        for field in dataclasses.fields(whole):
            if field.init:
                yield field.name, getattr(whole, field.name, None)
