"""Values checked against annotations: whether they fit, and the words for what would."""

import functools
import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from reprlib import Repr
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from jaxdiff.options.marks import LARGEST, SMALLEST, Range, is_array

Class = TypeVar("Class", bound=type)


def fits(kind: Any, value: Any) -> bool:  # noqa: PLR0911, PLR0912 - a case each
    """Returns whether a value is one that an annotation describes."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in (Any, inspect.Parameter.empty) or isinstance(kind, str | TypeVar):
        return _storable(value)
    if origin is Annotated:
        marks = [mark for mark in arguments[1:] if hasattr(mark, "admits")]
        finite = not any(isinstance(mark, Range) and not mark.finite for mark in marks)
        inner = fits(arguments[0], value) if finite else _number(value)
        return inner and (is_array(value) or all(mark.admits(value) for mark in marks))
    if origin in (Union, types.UnionType):
        return any(fits(each, value) for each in arguments)
    if origin is Literal:
        return any(value == each and type(value) is type(each) for each in arguments)
    if kind is None or kind is type(None):
        return value is None
    if is_array(value):
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


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _storable(value: Any) -> bool:
    """Whether all numbers in a value are finite, and its integers have 64 bits."""
    if isinstance(value, bool) or is_array(value):
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
