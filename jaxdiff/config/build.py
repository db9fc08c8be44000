"""Turns names in configs and flags into objects.

A spec is a name of a family's module (`"DDIM"`), a call with literal options (`"DDIM(eta=1)"`,
`"Stratified(of=LogitNormal(mean=0.5))"`), a mapping (`{"name": "UNet", "channels": [32, 64]}`)
whose options may be such mappings too, or any of these with the name of another module in front
(`"my_lab.solvers:MySolver(order=3)"`).
"""

import ast
import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def build(family: ModuleType, spec: Any, **context: Any) -> Any:
    """Returns the object that `spec` names, built with its options.

    Of `context`, each constructor gets what it has a parameter for and what the spec left open.
    An object that is neither a string nor a mapping is returned as it is; a function without
    options stands for itself, unless it takes something of the context.

    Nested mappings are of the same family. A class says otherwise by an attribute `families`, a
    family for an option, or None for an option whose spec it builds by itself.

    Raises:
        ValueError: the name or an option is unknown, or one is missing; says what there is.
    """
    if isinstance(spec, str):
        return _evaluate(family, _parse(spec), spec, context)
    if isinstance(spec, Mapping):
        options = dict(spec)
        name = options.pop("name")
        families = getattr(_find(family, name), "families", {})
        for option, value in options.items():
            of = families.get(option, family)
            if of is not None and isinstance(value, Mapping) and "name" in value:
                options[option] = build(of, value, **context)
        return _construct(family, name, options, context, called=True)
    return spec


def names(family: ModuleType) -> list[str]:
    """Lists what a family's module offers: its own public classes and functions."""
    return sorted(
        name
        for name, value in vars(family).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", "").startswith(family.__name__)
        and not getattr(value, "_is_protocol", False)
    )


def different(ours: Any, theirs: Any) -> str:
    """Returns "field=ours, but theirs" for what differs between two objects of dataclasses.

    Nested ones are compared field by field; "" where nothing differs.
    """
    if type(ours) is not type(theirs):
        return f"{type(ours).__name__}, but {type(theirs).__name__}"
    said = []
    for field in dataclasses.fields(ours):
        if not field.compare:
            continue
        a, b = (getattr(one, field.name) for one in (ours, theirs))
        nested = dataclasses.is_dataclass(a) and dataclasses.is_dataclass(b)
        if nested and (inner := different(a, b)):
            said.append(inner)
        elif not nested and a != b:
            said.append(f"{field.name}={a!r}, but {b!r}")
    return "; ".join(said)


def closest(name: str, known: list[str]) -> str:
    """Returns `"; did you mean ...?"`, or a list of all where nothing is close."""
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
            options = {k.arg: _argument(family, k.value, spec, context) for k in keywords}
            return _construct(family, name, options, context, called=True)
    raise ValueError(f"{spec!r}: write a name, or a call with named options: 'Name(option=value)'")


def _argument(family: ModuleType, node: ast.expr, spec: str, context: Mapping) -> Any:
    if isinstance(node, ast.Call):
        return _evaluate(family, node, spec, context)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{spec!r}: {ast.unparse(node)!r} is not a literal value") from None


def _construct(
    family: ModuleType, name: str, options: Mapping, context: Mapping, *, called: bool
) -> Any:
    target = _find(family, name)
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if not called and inspect.isfunction(target) and not parameters.keys() & context.keys():
        return target
    for option in options:
        if option not in parameters and not open_ended:
            raise ValueError(f"{name} has no option {option!r}{closest(option, list(parameters))}")
    given = {**{k: v for k, v in context.items() if k in parameters}, **options}
    required = [k for k, p in parameters.items() if p.default is p.empty and p.kind not in _REST]
    if missing := [k for k in required if k not in given]:
        raise ValueError(f"{name} needs {', '.join(missing)}: name them, or build it in Python")
    return target(**given)


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
        kind = module.__name__.rpartition(".")[2].replace("_", " ")
        raise ValueError(f"unknown {kind} {attribute!r}; known: {', '.join(names(module))}")
    return getattr(module, attribute)
