"""Nodes of numbers and texts."""

from typing import Annotated

from jaxdiff.studio.graph.ports import Beside
from jaxdiff.studio.graph.values import Anything, Output, Real, Saved

LONGEST = 10_000


def PrimitiveInt(value: Annotated[int, Beside()] = 0) -> int:
    """An integer."""
    return value


def PrimitiveFloat(value: Real = 0.0) -> float:
    """A number."""
    return value


def PrimitiveBoolean(value: bool = False) -> bool:
    """Whether."""
    return value


def PrimitiveString(value: str = "") -> str:
    """A text."""
    return value


def PrimitiveStringMultiline(value: str = "") -> str:
    """A text of several lines."""
    return value


def StringConcatenate(string_a: str = "", string_b: str = "", delimiter: str = "") -> str:
    """Two texts, one after the other."""
    return delimiter.join((string_a, string_b))


def PreviewAny(source: Anything) -> tuple[Output, str]:
    """Shows a value as a text."""
    text = str(source)[:LONGEST]
    return Saved("temp", (text,), "text"), text
