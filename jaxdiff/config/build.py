"""Turns names in configs and flags into objects.

A spec is a name of a family's module (`"DDIM"`), a call with literal options (`"DDIM(eta=1)"`,
`"Stratified(of=LogitNormal(mean=0.5))"`), a mapping (`{"name": "UNet", "channels": [32, 64]}`), or
any of these with the name of another module in front (`"my_lab.solvers:MySolver(order=3)"`).

An option may be a spec itself. Its family is that of the object, unless the signature names one:

    settings: Annotated[Any, jaxdiff.networks.text]   # a spec of this module; a string is one, too
    discriminator: Spec                               # left as it is; the object builds it
    inputs: Inputs = Inputs()                         # a mapping without "name" changes the default
"""

import ast
import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Annotated, Any, NamedTuple

from ml_collections import ConfigDict

Spec = Annotated[Any, "spec"]
"""Marks an option in a signature that `build` passes on unchanged."""


def build(family: ModuleType, spec: Any, **context: Any) -> Any:
    """Returns the object that `spec` names, built with its options.

    Constructors get the values of `context` for which they have a parameter and the spec has none.
    An object that is neither a string nor a mapping is returned as it is. The bare name of a
    function gives the function, unless the context or defaults hold all of its arguments.

    Raises:
        ValueError: a name or an option is unknown, or one is missing; lists the known ones.
    """
    if isinstance(spec, ConfigDict):
        spec = spec.to_dict()
    if isinstance(spec, str):
        return _evaluate(family, _parse(spec), spec, context)
    if isinstance(spec, Mapping):
        options = dict(spec)
        return _construct(family, options.pop("name"), options, context, called=True)
    return spec


def names(family: ModuleType) -> list[str]:
    """Lists the public classes and functions that a family's module defines."""
    return sorted(
        name
        for name, value in vars(family).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", "").startswith(family.__name__)
        and not getattr(value, "_is_protocol", False)
    )


def describe_difference(ours: Any, theirs: Any) -> str:
    """Returns "field=ours, but theirs" for each difference of two dataclass objects, "" for none.

    Nested dataclasses are compared field by field.
    """
    if type(ours) is not type(theirs):
        return f"{type(ours).__name__}, but {type(theirs).__name__}"
    differences = []
    for field in dataclasses.fields(ours):
        if not field.compare:
            continue
        a, b = (getattr(one, field.name) for one in (ours, theirs))
        nested = dataclasses.is_dataclass(a) and dataclasses.is_dataclass(b)
        if nested and (inner := describe_difference(a, b)):
            differences.append(inner)
        elif not nested and a != b:
            differences.append(f"{field.name}={a!r}, but {b!r}")
    return "; ".join(differences)


def suggest(name: str, known: list[str]) -> str:
    """Returns `"; did you mean ...?"`, or a list of all known names if none is close."""
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else f"; known: {', '.join(sorted(known))}"


def _parse(spec: str) -> ast.expr:
    head, bracket, options = spec.partition("(")
    module, _, name = head.rpartition(":")
    try:
        expression = ast.parse(name + bracket + options, mode="eval").body
    except SyntaxError:
        raise ValueError(f"{spec!r} is not a name or a call such as 'DDIM(eta=1)'") from None
    if module:
        target = expression.func if isinstance(expression, ast.Call) else expression
        if isinstance(target, ast.Name):
            target.id = f"{module}:{target.id}"
    return expression


def _evaluate(family: ModuleType, node: ast.expr, spec: str, context: Mapping) -> Any:
    match node:
        case ast.Name(id=name):
            return _construct(family, name, {}, context, called=False)
        case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords):
            options = {k.arg: _argument(k.value, spec) for k in keywords}
            return _construct(family, name, options, context, called=True)
    raise ValueError(f"{spec!r}: write a name, or a call with named options: 'Name(option=value)'")


def _argument(node: ast.expr, spec: str) -> Any:
    if isinstance(node, ast.Call):
        return _Call(node, spec)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{spec!r}: {ast.unparse(node)!r} is not a literal value") from None


class _Call(NamedTuple):
    """A call within a spec, the value of an option."""

    node: ast.Call
    spec: str


def _construct(
    family: ModuleType, name: str, options: Mapping, context: Mapping, *, called: bool
) -> Any:
    target = _find(family, name)
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for option in options:
        if option not in parameters and not open_ended:
            raise ValueError(f"{name} has no option {option!r}{suggest(option, list(parameters))}")
    given = {k: v for k, v in context.items() if k in parameters}
    for option, parameter in parameters.items():
        if option in options or (option not in given and _takes(parameter, context)):
            given[option] = _option(family, parameter, options.get(option, {}), context)
    for option in options.keys() - parameters.keys():
        given[option] = _option(family, _OPEN, options[option], context)
    required = [k for k, p in parameters.items() if p.default is p.empty and p.kind not in _REST]
    missing = [k for k in required if k not in given]
    if missing and not called and inspect.isfunction(target) and not given:
        return target
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)}: name them, or build it in Python")
    return target(**given)


def _option(family: ModuleType, parameter: inspect.Parameter, value: Any, context: Mapping) -> Any:
    """Returns the value of an option, built where it is a spec."""
    if parameter.annotation is Spec:
        return value
    marks = getattr(parameter.annotation, "__metadata__", ())
    named = next((mark for mark in marks if isinstance(mark, ModuleType)), None)
    if isinstance(value, _Call):
        return _evaluate(named or family, value.node, value.spec, context)
    if isinstance(value, Mapping) and "name" in value:
        return build(named or family, value, **context)
    if isinstance(value, Mapping) and (settings := _settings(parameter)):
        return _changed(settings, parameter.default, value, context)
    return build(named, value, **context) if named and isinstance(value, str) else value


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
    known = [field.name for field in dataclasses.fields(kind)]
    if unknown := [option for option in options if option not in known]:
        raise ValueError(
            f"{kind.__name__} has no option {unknown[0]!r}{suggest(unknown[0], known)}"
        )
    changes = {**{k: v for k, v in context.items() if k in known}, **options}
    return dataclasses.replace(default, **changes) if isinstance(default, kind) else kind(**changes)


_OPEN = inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)
_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _find(family: ModuleType, name: str) -> Callable:
    module_name, _, attribute = name.rpartition(":")
    if module_name:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ValueError(f"{name!r}: there is no module {module_name!r} ({error})") from None
    else:
        module = family
    if not hasattr(module, attribute) or (not module_name and attribute not in names(family)):
        kind = module.__name__.rpartition(".")[2].replace("_", " ").removesuffix("s")
        raise ValueError(f"unknown {kind} {attribute!r}; known: {', '.join(names(module))}")
    return getattr(module, attribute)
