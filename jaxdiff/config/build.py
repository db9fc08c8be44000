"""Builds objects from the specs in configs and flags, of the family that a module is.

An option may be a spec itself. Its family is that of the object, unless the signature names one:

    settings: Annotated[Any, jaxdiff.networks.text]   # a spec of this module; a string is one, too
    discriminator: Spec                               # left as it is; the object builds it
    inputs: Inputs = Inputs()                         # a table without "name" changes the default

Every other option is checked against its annotation, by `jaxdiff.options`. A part must be of its
family's kind (`config.kinds`), which is looked up before anything is called.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

from ml_collections import ConfigDict

from jaxdiff import options as checks
from jaxdiff.config import kinds
from jaxdiff.config.kinds import names, suggest
from jaxdiff.config.specs import Call, parse

__all__ = ["Spec", "build", "describe_difference", "names", "suggest"]

Spec = Annotated[Any, "spec"]
"""Marks an option in a signature that `build` passes on unchanged."""


def build(family: ModuleType, spec: Any, kind: Any = None, /, **context: Any) -> Any:
    """Returns the object that `spec` names, built with its options.

    Constructors get the values of `context` for which they have a parameter and the spec has none.
    An object that is neither a string nor a mapping is returned as it is. The bare name of a
    function gives the function, unless the context or defaults hold all of its arguments.

    Raises:
        ValueError: a name or an option is unknown, or one is missing; lists the known ones. A value
            is of the wrong type or range. What is named is no part of this kind, by default that of
            the family.
    """
    kind = kinds.kind_of(family) if kind is None else kind
    if isinstance(spec, str | Mapping | ConfigDict | Call):
        call = spec if isinstance(spec, Call) else parse(spec)
        return _construct(family, call, kind, context)
    if kind is not Any and not checks.fits(kind, spec):
        noun = kinds.noun_of(family)
        raise ValueError(
            f"{noun} is {checks.short(spec)}; expected a name, a call such as 'Name(option=1)', or"
            f" a table with a 'name'; known: {', '.join(names(family))}"
        )
    return spec


def describe_difference(found: Any, expected: Any) -> str:
    """Returns "field=found, but expected" for each difference of two dataclasses, "" for none.

    Nested dataclasses are compared field by field.
    """
    if type(found) is not type(expected):
        return f"{type(found).__name__}, but {type(expected).__name__}"
    differences = []
    for field in dataclasses.fields(found):
        if not field.compare:
            continue
        a, b = (getattr(one, field.name) for one in (found, expected))
        nested = dataclasses.is_dataclass(a) and dataclasses.is_dataclass(b)
        if nested and (inner := describe_difference(a, b)):
            differences.append(inner)
        elif not nested and a != b:
            differences.append(f"{field.name}={a!r}, but {b!r}")
    return "; ".join(differences)


def options_of(target: Any) -> dict[str, inspect.Parameter]:
    """Returns the options of a class or a function by name.

    Where a function passes further ones on (`**changes`), they are those of what it returns.
    """
    signature = inspect.signature(target)
    found = {n: p for n, p in signature.parameters.items() if p.kind not in _REST}
    for name in ("parent", "name") if _is_module(target) else ():
        found.pop(name, None)
    made = signature.return_annotation
    passed_on = len(found) < len(signature.parameters) and dataclasses.is_dataclass(made)
    return {**options_of(made), **found} if passed_on and isinstance(made, type) else found


def _construct(family: ModuleType, call: Call, kind: Any, context: Mapping[str, Any]) -> Any:
    target = _find(family, call, kind)
    name, options, known = target.__name__, call.options, options_of(target)
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and not (
        known.keys() - parameters.keys()
    )
    given = {k: v for k, v in context.items() if k in parameters}
    for option, value in options.items():
        if option not in known and not open_ended:
            raise ValueError(f"{name} has no option {option!r}{suggest(option, list(known))}")
        given[option] = _option(family, name, known.get(option, _OPEN), value, context)
    for option, parameter in known.items():
        if option in parameters and option not in given and _takes(parameter, context):
            given[option] = _option(family, name, parameter, {}, context)
    required = [k for k, p in parameters.items() if p.default is p.empty and p.kind not in _REST]
    missing = [k for k in required if k not in given]
    if missing and inspect.isfunction(target) and not given:
        return target
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)}: name them, or build it in Python")
    return target(**given)


def _option(
    family: ModuleType,
    owner: str,
    parameter: inspect.Parameter,
    value: Any,
    context: Mapping[str, Any],
) -> Any:
    """Returns the value of an option: built where it is a spec, else checked."""
    annotation = parameter.annotation
    if annotation == Spec:
        return value
    marks = getattr(annotation, "__metadata__", ())
    named = next((mark for mark in marks if isinstance(mark, ModuleType)), None)
    where, kind = (named, kinds.kind_of(named)) if named else (family, annotation)
    if named and parameter.default is None:
        annotation = kind | None
    elif named:
        annotation = kind
    spelled = isinstance(value, Mapping) and "name" in value and not checks.plain(annotation)
    try:
        if isinstance(value, Call):
            value = _construct(where, value, kind, context)
        elif spelled or (isinstance(value, str) and (named or _is_name(value, family, annotation))):
            value = _construct(where, parse(value), kind, context)
        elif isinstance(value, Mapping) and (settings := _settings(parameter)):
            value = _changed(settings, parameter.default, value, context)
    except ValueError as error:
        raise ValueError(f"{owner}.{parameter.name}: {error}") from error
    return checks.taken(f"{owner}.{parameter.name}", annotation, value)


def _is_name(value: str, family: ModuleType, annotation: Any) -> bool:
    """Whether a text, where an object is wanted, is the name or the call of one."""
    if checks.fits(annotation, value):
        return False
    try:
        return parse(value).attribute in names(family, annotation)
    except ValueError:
        return False


def _settings(parameter: inspect.Parameter) -> type | None:
    """Returns the dataclass of an option whose annotation is one."""
    kind = parameter.annotation
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def _takes(parameter: inspect.Parameter, context: Mapping) -> bool:
    """Whether an option's default is a dataclass with fields that the context has."""
    kind = _settings(parameter)
    if kind is None or not isinstance(parameter.default, kind):
        return False
    return any(field.name in context for field in dataclasses.fields(kind))


def _changed(kind: type, default: Any, options: Mapping, context: Mapping) -> Any:
    """Returns a dataclass with some options, those of a default where there is one."""
    known, name = options_of(kind), kind.__name__
    changes = {k: v for k, v in context.items() if k in known}
    needed = [k for k, p in known.items() if p.default is p.empty]
    missing = [k for k in needed if k not in options and k not in changes]
    if missing and not isinstance(default, kind):
        raise ValueError(f"{name} needs {', '.join(missing)}")
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}{suggest(str(option), list(known))}")
        changes[option] = checks.taken(f"{name}.{option}", known[option].annotation, value)
    return dataclasses.replace(default, **changes) if isinstance(default, kind) else kind(**changes)


def _is_module(target: Any) -> bool:
    """Whether it is a Flax module, whose last two fields are no options."""
    fields = getattr(target, "__dataclass_fields__", {})
    return isinstance(target, type) and {"parent", "name"} <= fields.keys()


def _find(family: ModuleType, call: Call, kind: Any) -> Any:
    """Returns the class or function that a call names, if it makes a part of the kind, or is one.

    Nothing is called that does not say that it makes one.
    """
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if call.module:
        kind = kinds.kind_of(family) if kind is Any else kind
        if kind is Any:
            raise ValueError(f"{call.name!r}: a part of another module has no place here")
        target = _outside(call)
    else:
        target = kinds.find(family, call.name)
    if kinds.makes(target, kind) or kinds.is_part(target, kind, own=not call.module):
        return target
    function = "" if isinstance(target, type) else ", or its return annotation does not say so"
    raise ValueError(
        f"{call.name!r} is no {kinds.noun_of(family)}: it makes no {kinds.word(kind)}{function};"
        f" known: {', '.join(names(family, kind))}"
    )


def _outside(call: Call) -> Any:
    """Returns the class or function of a module in front of a name."""
    try:
        module = importlib.import_module(call.module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{call.name!r}: there is no module {call.module!r} ({error})") from None
    except Exception as error:  # whatever a person's own file raises
        raise ValueError(
            f"{call.name!r}: module {call.module!r} cannot be imported:"
            f" {type(error).__name__}: {error}"
        ) from error
    target = getattr(module, call.attribute, None)
    if not callable(target):
        known = [name for name, value in vars(module).items() if callable(value)]
        raise ValueError(f"{call.module} has no {call.attribute!r}{suggest(call.attribute, known)}")
    return target


_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_OPEN = inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)
