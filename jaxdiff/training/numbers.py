"""The numbers of parts, such as the gamma of a weighting: found, compared, and put in as arrays.

A part is a frozen dataclass, or an object whose attributes are parts. Its floats are constants of a
program that is traced with it. Where runs differ in such numbers only, they can be arguments of one
program instead.
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn

from jaxdiff.trees import replaced

Numbers = dict[str, float]

SKIPPED = ("config",)
"""Attributes that hold no parts."""


def numbers_of(part: Any) -> Numbers:
    """Returns the floats of a part and of the parts within it, by their path: "weighting/gamma".

    Networks are left out: what they compute depends on their numbers in other ways than by value.
    """
    return dict(_numbers(part, ""))


def differing(numbers: Sequence[Numbers]) -> tuple[str, ...]:
    """Returns the paths at which numbers are not the same everywhere.

    Raises:
        ValueError: the paths are not.
    """
    first, *others = numbers
    for each in others:
        if each.keys() != first.keys():
            name = sorted(each.keys() ^ first.keys())[0]
            raise ValueError(f"not all of the runs have the number {name!r}")
    return tuple(p for p, value in first.items() if any(o[p] != value for o in others))


def with_numbers(part: Any, values: Mapping[str, Any]) -> Any:
    """Returns a part with other numbers, which may be tracers, at some of its paths."""
    for path, value in values.items():
        part = _with(part, path.split("/"), value)
    return part


def _fields(part: Any) -> Mapping[str, Any] | None:
    """Returns what is within a part by name; None for what is no part."""
    if isinstance(part, nn.Module | type) or not hasattr(part, "__dict__"):
        return None
    if dataclasses.is_dataclass(part):
        return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    return None


def _numbers(part: Any, prefix: str) -> Iterator[tuple[str, float]]:
    inside = _fields(part)
    if inside is None and not prefix:  # a task: its attributes are parts
        inside = {n: value for n, value in vars(part).items() if n not in SKIPPED}
    for name, value in (inside or {}).items():
        if isinstance(value, float):
            yield prefix + name, value
        else:
            yield from _numbers(value, f"{prefix}{name}/")


def _with(part: Any, path: Sequence[str], value: Any) -> Any:
    name, *rest = path
    new = _with(getattr(part, name), rest, value) if rest else value
    if dataclasses.is_dataclass(part):
        return replaced(part, **{name: new})
    other = copy.copy(part)
    setattr(other, name, new)
    return other
