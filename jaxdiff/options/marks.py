"""Conditions on values, beside their types, and the types of options that are used everywhere."""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np

Number = int | float

LARGEST = 2.0**128
"""Numbers of this size and beyond are infinite in single precision."""

SMALLEST = 2.0**-126
"""Numbers below this size are zero in single precision."""


class Mark(Protocol):
    """A condition on a value, beside its type: `Annotated[type, mark]`."""

    def admits(self, value: Any) -> bool:
        """Returns whether a value of the type meets the condition."""

    def describe(self, noun: str) -> str:
        """Returns the words for such a value, of those for the type: "a number above 0"."""


@dataclass(frozen=True)
class Range:
    """Numbers that are greater (or equal) and less (or equal); `finite` excludes infinities."""

    ge: Number | None = None
    gt: Number | None = None
    le: Number | None = None
    lt: Number | None = None
    finite: bool = True

    def admits(self, value: Any) -> bool:
        """Returns whether a number is in the range; NaN never is."""
        if not isinstance(value, int | float):
            return True  # None, of an optional number
        inside = all(
            compare(value, bound) for compare, bound, _ in self._bounds() if bound is not None
        )
        return inside and not math.isnan(value) and not (self.finite and abs(value) >= LARGEST)

    def describe(self, noun: str) -> str:
        """Returns "a number from 0 to 1", "a number above 0"."""
        if self.ge is not None and self.le is not None:
            return f"{noun} from {self.ge} to {self.le}"
        words = [f"{word} {bound}" for _, bound, word in self._bounds() if bound is not None]
        return " ".join([noun, " and ".join(words)]).strip()

    def _bounds(self):
        return (
            (operator.ge, self.ge, "of at least"),
            (operator.gt, self.gt, "above"),
            (operator.le, self.le, "of at most"),
            (operator.lt, self.lt, "below"),
        )


def Between(low: Number, high: Number) -> Range:  # noqa: N802 - reads as a type
    """Returns the range from `low` to `high`, both included."""
    return Range(ge=low, le=high)


Positive = Range(gt=0)
NotNegative = Range(ge=0)
Size = Annotated[int, Between(1, 2**31 - 1)]
"""A size, a width or a number of things: at least 1."""

Count = Annotated[int, Between(0, 2**31 - 1)]
"""A number of things of which there may be none."""

Share = Annotated[float, Between(0, 1)]
"""A share of a whole, a probability."""

Levels = Annotated[int, Between(2, 65536)]
"""A number of values that data have in [-1, 1]: 256 for bytes."""

PositiveFloat = Annotated[float, Positive]
NonNegativeFloat = Annotated[float, NotNegative]
Width = Annotated[int, Between(1, 1_000_000)]
"""A number of channels or features."""

Depth = Annotated[int, Between(1, 1000)]
"""A number of layers or heads."""

Steps = Annotated[int, Between(1, 1_000_000)]
"""A number of a solver's steps, whose times are computed beforehand."""

TableSize = Annotated[int, Between(1, 100_000)]
"""The number of rows of a table."""


@dataclass(frozen=True)
class Filled:
    """A text or a list that is not empty; with `count`, a list of exactly `count` values."""

    count: int | None = None

    def admits(self, value: Any) -> bool:
        """Returns whether there is something in it."""
        return value is None or (len(value) == self.count if self.count else len(value) > 0)

    def describe(self, noun: str) -> str:
        """Returns "a list that is not empty, each a number"."""
        head, comma, rest = noun.partition(",")
        return (
            f"{head} of {self.count}{comma}{rest}"
            if self.count
            else f"{head} that is not empty{comma}{rest}"
        )


@dataclass(frozen=True)
class Numeric:
    """An array of finite numbers, or lists that make one."""

    def admits(self, value: Any) -> bool:
        """Returns whether the value is one; arrays are not looked into."""
        if is_array(value):
            return True
        try:
            array = np.asarray(value)
        except ValueError:  # lists of different lengths
            return False
        return array.size > 0 and array.dtype.kind in "biuf" and bool(np.isfinite(array).all())

    def describe(self, noun: str) -> str:
        """Returns the words for it."""
        return "an array of numbers"


Numbers = Annotated[Any, Numeric()]
"""An array of numbers, or lists of them."""


@dataclass(frozen=True)
class FromTraining:
    """A tree of arrays that training fills in: no option of a spec."""

    def admits(self, value: Any) -> bool:
        """Returns whether there is nothing yet, or are arrays."""
        inside = isinstance(value, Mapping) and value and all(map(self.admits, value.values()))
        return value is None or bool(inside) or is_array(value)

    def describe(self, noun: str) -> str:
        """Returns the words for it."""
        return "nothing: training fills it in"


Learned = Annotated[Any, FromTraining()]
"""Values that training fills in."""


@dataclass(frozen=True)
class DType:
    """The name of an array's type of floating-point numbers, or the type itself."""

    def admits(self, value: Any) -> bool:
        """Returns whether it names one."""
        try:
            import jax.numpy as jnp  # noqa: PLC0415 - processes that only read data have no use

            return jnp.issubdtype(jnp.dtype(value), jnp.floating)
        except (TypeError, ValueError):
            return False

    def describe(self, noun: str) -> str:
        """Returns the words for it."""
        return "a type of arrays, such as 'float32' or 'bfloat16'"


FloatType = Annotated[Any, DType()]
"""A type of floating-point arrays, or its name: "bfloat16"."""


def is_array(value: Any) -> bool:
    """Whether it is an array, a tracer, or what JAX puts in the place of one."""
    return hasattr(value, "shape") and hasattr(value, "dtype")
