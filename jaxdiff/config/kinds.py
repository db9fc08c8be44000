"""Which parts a family has, and whether a class or a function makes a part of a kind.

A family is a module whose `KIND` is the type of its parts, a protocol or a function type. A class
makes a part of this kind if it has the protocol's methods; a function, if its signature says that
it returns one, or if it is one itself.
"""

import difflib
import inspect
import re
import types
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any, Union, get_args, get_origin

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def names(family: ModuleType, kind: Any = None) -> list[str]:
    """Lists the classes and functions of a family that make its parts, or parts of another kind."""
    kind = kind_of(family) if kind is None else kind
    own = members(family)
    return sorted(name for name, value in own.items() if makes(value, kind) or is_part(value, kind))


def members(family: ModuleType) -> dict[str, Any]:
    """Returns all public classes and functions that a family's module defines, by name.

    Also those of other modules that its `__all__` lists.
    """
    listed = getattr(family, "__all__", ())
    own = lambda value: getattr(value, "__module__", "").startswith(family.__name__)
    return {
        name: value
        for name, value in vars(family).items()
        if not name.startswith("_")
        and name != "KIND"
        and callable(value)
        and (own(value) or name in listed)
        and not getattr(value, "_is_protocol", False)
    }


def kind_of(family: ModuleType) -> Any:
    """Returns the type of a family's parts; Any where it has not declared one."""
    return getattr(family, "KIND", Any)


def makes(target: Any, kind: Any) -> bool:
    """Returns whether calling a class or a function makes a part of a kind; calls nothing."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return makes(target, arguments[0])
    if kind is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(makes(target, each) for each in arguments)
    if not isinstance(target, type):
        found = _signature(target).return_annotation if inspect.isroutine(target) else None
        if get_origin(found) in (Union, types.UnionType):
            return all(makes_type(each, kind) for each in get_args(found))
        return makes_type(found, kind)
    return makes_type(target, kind)


def makes_type(found: Any, kind: Any) -> bool:
    """Returns whether objects of one type are of a kind."""
    if found == kind or (get_origin(kind) is tuple and get_origin(found) is tuple):
        return True
    if not isinstance(found, type):
        return False
    if _is_function_type(kind):
        return _has(found, "__call__") and _called_alike(found.__call__, kind)
    if getattr(kind, "_is_protocol", False):
        return all(_has(found, method) for method in _methods(kind))
    return isinstance(kind, type) and issubclass(found, kind)


def is_part(target: Any, kind: Any, *, own: bool = True) -> bool:
    """Returns whether a function is a part itself, where the parts of a kind are functions.

    It takes as many arguments as the kind does; of the package's `own`, it returns the same type.
    """
    if get_origin(kind) in (Union, types.UnionType):
        return any(is_part(target, each, own=own) for each in get_args(kind))
    if not inspect.isfunction(target):
        return False
    if _is_function_type(kind) and get_args(kind):
        returned = get_args(kind)[1]
    elif getattr(kind, "_is_protocol", False) and _methods(kind) == {"__call__"}:
        returned = inspect.signature(kind.__call__).return_annotation
    else:
        return False
    same = _same_type(_signature(target).return_annotation, returned)
    return _takes(target, kind) and (same or not own)


def find(family: ModuleType, name: str) -> Any:
    """Returns the class or function of a family by its name, in any case and spelling near enough.

    "dpmpp2m", "DPM++ 2M" and "dpm-pp-2m" are `DPMpp2M`.

    Raises:
        ValueError: there is none, or several are spelled like this; lists the nearest.
    """
    own = members(family)
    if name in own:
        return own[name]
    alike = [known for known in own if _letters(known) == _letters(name)]
    if len(alike) == 1:
        return own[alike[0]]
    noun = noun_of(family)
    if alike:
        raise ValueError(f"{noun} {name!r} may be {' or '.join(sorted(alike))}: write one of them")
    known = names(family)
    raise ValueError(f"unknown {noun} {name!r}{nearest(name, known)}; known: {', '.join(known)}")


def noun_of(family: ModuleType) -> str:
    """Returns a family's name as a noun: "time sampling"."""
    return family.__name__.rpartition(".")[2].replace("_", " ").removesuffix("s")


def word(kind: Any) -> str:
    """Returns the name of a kind, for errors."""
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(word(each) for each in get_args(kind))
    return (
        "function of its form" if _is_function_type(kind) else getattr(kind, "__name__", str(kind))
    )


def suggest(name: str, known: list[str]) -> str:
    """Returns `"; did you mean ...?"`, or a list of all known names if none is close."""
    return nearest(name, known) or f"; known: {', '.join(sorted(known))}"


def nearest(name: str, known: list[str]) -> str:
    """Returns `"; did you mean 'a' or 'b'?"`, or "" if no name is close."""
    by_letters: dict[str, str] = {_letters(each): each for each in sorted(known, reverse=True)}
    found = difflib.get_close_matches(_letters(name), by_letters, n=3, cutoff=0.6)
    words = " or ".join(repr(by_letters[each]) for each in found)
    return f"; did you mean {words}?" if words else ""


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "p"))


def _is_function_type(kind: Any) -> bool:
    return kind is Callable or get_origin(kind) is Callable


def _called_alike(method: Any, kind: Any) -> bool:
    """Whether a `__call__` takes a kind's arguments, and returns a function where it does."""
    returned = get_args(kind)[1] if get_args(kind) else Any
    found = _signature(method).return_annotation
    other = _is_function_type(returned) and found not in (inspect.Signature.empty, Any, returned)
    return _takes(method, kind, bound=1) and not other


def _takes(function: Any, kind: Any, bound: int = 0) -> bool:
    """Whether a function takes as many arguments as a kind's; `bound` are filled already."""
    if _is_function_type(kind):
        wanted = get_args(kind)[0] if get_args(kind) else ...
        count = len(wanted) if isinstance(wanted, list) else None
    else:
        count = len(inspect.signature(kind.__call__).parameters) - 1
    parameters = list(_signature(function).parameters.values())[bound:]
    places = [p for p in parameters if p.kind in _POSITIONAL]
    required = [p for p in parameters if p.default is p.empty and p.kind in _POSITIONAL]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return count is None or len(required) <= count <= (1000 if several else len(places))


def _methods(kind: Any) -> set[str]:
    bases = [base for base in kind.__mro__ if getattr(base, "_is_protocol", False)]
    return {
        name
        for base in bases
        for name, value in vars(base).items()
        if inspect.isfunction(value)
        and (name == "__call__" or not name.startswith("_") or name in ("__len__", "__getitem__"))
    }


def _has(cls: type, method: str) -> bool:
    return any(method in vars(base) for base in cls.__mro__)


def _signature(target: Any) -> inspect.Signature:
    try:
        return inspect.signature(target, eval_str=False)
    except (ValueError, TypeError):  # of a function in C
        return inspect.Signature(return_annotation=None)


def _same_type(one: Any, other: Any) -> bool:
    return one == other or getattr(one, "__name__", one) == getattr(other, "__name__", other)
