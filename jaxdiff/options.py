"""Values of options, checked against annotations and the ranges declared in them.

    eta: Annotated[float, Between(0, 1)] = 0.0
    order: Annotated[int, Between(1, 4)] = 3
    channels: Annotated[tuple[Count, ...], Filled]

A float is finite unless its range says otherwise, an integer has 64 bits and is no bool, a list may
stand for a tuple. Arrays and tracers are not looked into, so that objects can be made under `jit`.
"""

import functools
import inspect
import math
import operator
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from reprlib import Repr
from typing import Annotated, Any, Literal, Protocol, TypeVar, Union, get_args, get_origin

import numpy as np

Class = TypeVar("Class", bound=type)
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


def AtLeast(low: Number) -> Range:  # noqa: N802
    """Returns the range from `low` on, included."""
    return Range(ge=low)


Positive = Range(gt=0)
NotNegative = Range(ge=0)
MaybeInfinite = Range(finite=False)
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
"""A number of things that are tabulated."""


@dataclass(frozen=True)
class Filled:
    """A text or a list that is not empty; with `count`, a list of so many values."""

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
        if _array(value):
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
        return value is None or bool(inside) or _array(value)

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


def fits(kind: Any, value: Any) -> bool:  # noqa: PLR0911, PLR0912 - a case each
    """Returns whether a value is one that an annotation describes."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in (Any, inspect.Parameter.empty) or isinstance(kind, str | TypeVar):
        return _storable(value)
    if origin is Annotated:
        marks = [mark for mark in arguments[1:] if hasattr(mark, "admits")]
        finite = not any(isinstance(mark, Range) and not mark.finite for mark in marks)
        inner = fits(arguments[0], value) if finite else _number(value)
        return inner and (_array(value) or all(mark.admits(value) for mark in marks))
    if origin in (Union, types.UnionType):
        return any(fits(each, value) for each in arguments)
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in arguments)
    if kind is None or kind is type(None):
        return value is None
    if _array(value):
        return True
    if kind is bool:
        return isinstance(value, bool)
    if kind is int:
        return isinstance(value, int | np.integer) and _number(value) and _storable(value)
    if kind is float:
        return _number(value) and _storable(value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        keys, values = arguments or (Any, Any)
        return isinstance(value, Mapping) and all(
            fits(keys, k) and fits(values, v) for k, v in value.items()
        )
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _fits_list(origin, arguments, value)
    if origin is type or kind is type:
        return isinstance(value, type)
    if kind is Callable or origin is not None:
        return callable(value)
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol that cannot be asked, or an annotation of shapes
        return True


def describe(kind: Any) -> str:  # noqa: PLR0911
    """Returns the words for the values that an annotation describes: "a number from 0 to 1"."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        several = [each for each in get_args(arguments[0]) if each is not type(None)]
        optional = type(None) in get_args(arguments[0]) and len(several) == 1
        noun = describe(several[0] if optional else arguments[0])
        for mark in arguments[1:]:
            noun = mark.describe(noun) if hasattr(mark, "admits") else noun
        return f"{noun} or None" if optional else noun
    if origin in (Union, types.UnionType):
        words = [describe(each) for each in arguments if "array" not in str(each).lower()]
        return " or ".join(dict.fromkeys(words))
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a table {{name: {describe(arguments[1])}}}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        if origin is tuple and Ellipsis not in arguments:
            return f"{len(arguments)} values ({', '.join(map(describe, arguments))})"
        return f"a list, each {describe(arguments[0])}"
    if origin is not None or kind is Callable:
        return "a function"
    if kind in _WORDS:
        return _WORDS[kind]
    name = getattr(kind, "__name__", str(kind))
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return f"{'an' if spaced[0] in 'AEIOaeio' else 'a'} {spaced}"


def check(name: str, kind: Any, value: Any) -> None:
    """Raises ValueError, which names the option and says what would be right."""
    if not fits(kind, value):
        words = describe(kind)
        if kind in (Any, int, float) and not _storable(value):
            words = f"{words} that is finite and has 64 bits"
        raise ValueError(f"{name} is {short(value)}; expected {words}")


def taken(name: str, kind: Any, value: Any) -> Any:
    """Returns a checked value: integers as floats where these are meant, lists as tuples.

    Raises:
        ValueError: it is of another type or range; names the option and says what would be right.
    """
    check(name, kind, value)
    return _converted(kind, value)


def checked(cls: Class) -> Class:
    """Makes a dataclass check its options when it is constructed, before `__post_init__`.

    Options are numbers, texts, and lists and tables of these; objects are not looked at.
    """
    construct = cls.__init__
    signature = inspect.signature(construct)
    kinds = {name: p.annotation for name, p in signature.parameters.items() if plain(p.annotation)}

    @functools.wraps(construct)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            given = signature.bind(self, *args, **kwargs).arguments
        except TypeError:  # the constructor says it better
            given = {}
        for name, value in given.items():
            if name in kinds:
                check(f"{cls.__name__}.{name}", kinds[name], value)
        construct(self, *args, **kwargs)

    if kinds:
        cls.__init__ = init
    return cls


def plain(kind: Any) -> bool:
    """Returns whether an annotation is of numbers, texts, and lists and tables of these."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return plain(arguments[0])
    if origin is Literal or (kind in _WORDS and kind is not Any) or kind is Ellipsis:
        return True
    if origin in (Union, types.UnionType):
        return any(plain(each) for each in arguments if each is not type(None))
    return (
        isinstance(origin, type)
        and issubclass(origin, Mapping | Sequence)
        and all(map(plain, arguments))
    )


def short(value: Any) -> str:
    """Returns the repr of a value, shortened."""
    return _SHORT.repr(value)


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_SHORT.maxlong = 40

_WORDS = {
    Any: "a value",
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a text",
    dict: "a table",
    None: "None",
    type(None): "None",
}


def _array(value: Any) -> bool:
    """Whether it is an array, a tracer, or what JAX puts in the place of one."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _storable(value: Any) -> bool:
    """Whether all numbers in a value are finite, and its integers have 64 bits."""
    if isinstance(value, bool) or _array(value):
        return True
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return value == 0 or SMALLEST <= abs(value) < LARGEST
    if isinstance(value, Mapping):
        return all(_storable(each) for each in value.values())
    return not isinstance(value, list | tuple) or all(map(_storable, value))


def _fits_list(origin: type, arguments: tuple[Any, ...], value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return not isinstance(value, str | bytes) and isinstance(value, Sequence)
    if origin is tuple and arguments and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(fits, arguments, value))
    return not arguments or all(fits(arguments[0], each) for each in value)


def _converted(kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _converted(arguments[0], value)
    if origin in (Union, types.UnionType):
        chosen = [each for each in arguments if fits(each, value)]
        exact = [each for each in chosen if isinstance(each, type) and type(value) is each]
        return _converted((exact or chosen)[0], value)
    if kind is float and isinstance(value, int):
        return float(value)
    if isinstance(value, list | tuple) and (origin in (tuple, Sequence) or kind is tuple):
        each = arguments[0] if arguments else Any
        kinds = [each] * len(value) if origin is Sequence or Ellipsis in arguments else arguments
        return tuple(map(_converted, kinds or [Any] * len(value), value))
    return value
