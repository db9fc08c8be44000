"""Fields of a config set by flags: `--config.train.steps=100`, `--config.network.depth=4`.

Any field can be set, and any option of a part, whether a recipe mentions it or not. A part may be
chosen by its name, `--config.network=DiT`, and its options follow.
"""

import ast
import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from ml_collections import ConfigDict

from jaxdiff.config.fields import OPEN, Fields, Part
from jaxdiff.config.kinds import find, nearest
from jaxdiff.config.specs import as_table
from jaxdiff.options import short

PREFIX = "config."


def separate(arguments: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Returns the arguments without the fields of the config, and these with their texts.

    They have the form `--config.field=text` or `--config.field text`; a field alone is true, and
    `--noconfig.field` false.
    """
    rest, fields = [], []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        if argument == "--":
            return [*rest, argument, *queue], fields
        name, equals, text = argument.lstrip("-").partition("=")
        negated = name.startswith(f"no{PREFIX}")
        if not argument.startswith("-") or not name.removeprefix("no").startswith(PREFIX):
            rest.append(argument)
            continue
        if not equals:
            follows = bool(queue) and not queue[0].startswith("--") and not negated
            text = queue.pop(0) if follows else str(not negated)
        fields.append((name.removeprefix("no").removeprefix(PREFIX), text))
    return rest, fields


def changed(config: ConfigDict, fields: Iterable[tuple[str, str]]) -> ConfigDict:
    """Returns a config with fields set to what their texts mean, in the order given.

    Raises:
        ValueError: a field is unknown, with the nearest names, or a section needs a field.
    """
    table = config.to_dict()
    for path, text in fields:
        try:
            _set(table, path.split("."), text, Fields)
        except UnknownFieldError:
            raise ValueError(f"unknown config field {path!r}{_like(path, table)}") from None
        except ValueError as error:
            raise ValueError(f"config field {path!r}: {error}") from None
    return ConfigDict(table)


def known_fields(section: Any = Fields, prefix: str = "") -> list[str]:
    """Lists all declared fields by their paths."""
    found = []
    for field in dataclasses.fields(section):
        inner = dataclasses.is_dataclass(field.type)
        found += (
            known_fields(field.type, f"{prefix}{field.name}.") if inner else [prefix + field.name]
        )
    return found


def _set(table: dict, names: list[str], text: str, section: Any) -> None:
    kinds = {field.name: field.type for field in dataclasses.fields(section)}
    name, *rest = names
    kind = kinds.get(name)
    if kind is None:
        raise UnknownFieldError
    if "" in rest:
        raise ValueError("there is an empty name in it")
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        _set_in_section(table, name, rest, text, kind)
    elif not rest:
        table[name] = _value(kind, text, table.get(name))
    elif name == "weights":
        _set_source(table[name], rest, text)
    elif _part(kind):
        table[name] = as_table(table.get(name, ""))
        _set_option(table[name], rest, text)
    elif isinstance(table.get(name), Mapping):
        _set_option(table[name], rest, text)
    else:
        raise ValueError(f"{name!r} has no fields")


def _set_in_section(table: dict, name: str, rest: list[str], text: str, kind: type) -> None:
    known = [field.name for field in dataclasses.fields(kind)]
    if rest and (rest[0] in known or name not in OPEN):
        _set(table[name], rest, text, kind)
    elif rest:
        _set_option(table[name], rest, text)
    elif text.lstrip().startswith("{"):
        table[name] = {**table[name], **_literal_table(text)}
    elif name in OPEN:
        kept = {key: value for key, value in table[name].items() if key in known}
        table[name] = {**kept, **as_table(text)}
    else:
        raise ValueError(f"it is a section; its fields are {', '.join(known)}")


def _set_source(table: dict, names: list[str], text: str) -> None:
    """Sets the source of some weights, which is a path; or one field of it."""
    name, *rest = names
    if not rest:
        table[name] = literal(text) if text.lstrip().startswith("{") else text
        return
    before = table.get(name, "")
    inner = dict(before) if isinstance(before, Mapping) else {"source": before} if before else {}
    inner[rest[0]] = literal(text) if rest[0] in ("trained", "averaged") else text
    table[name] = inner


def _set_option(table: dict, names: list[str], text: str) -> None:
    """Sets an option of a part, or of a part within."""
    name, *rest = names
    if not rest:
        table[name] = literal(text)
        return
    inner = table.get(name, {})
    table[name] = dict(inner) if isinstance(inner, Mapping) else as_table(inner)
    _set_option(table[name], rest, text)


def _value(kind: Any, text: str, before: Any) -> Any:
    if _part(kind):
        if text.lstrip().startswith("{"):
            return _literal_table(text)
        return as_table(text) if isinstance(before, Mapping) else text
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if inner is str or get_origin(inner) is Literal or _text(inner):
        return text
    value = literal(text)
    listed = get_origin(inner) is tuple
    return (value,) if listed and not isinstance(value, list | tuple) else value


def _text(kind: Any) -> bool:
    return get_origin(kind) is Annotated and get_args(kind)[0] is str


def _part(kind: Any) -> Part | None:
    return next(
        (mark for mark in getattr(kind, "__metadata__", ()) if isinstance(mark, Part)), None
    )


def _literal_table(text: str) -> dict[Any, Any]:
    value = literal(text)
    if not isinstance(value, dict):
        raise ValueError(f"{short(text)} is not a table {{'name': ...}}")
    return value


def literal(text: str) -> Any:
    """Returns a number, True, a list or a table where the text is one, else the text."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text


class UnknownFieldError(ValueError):
    """There is no field of this name."""


def _like(path: str, table: Mapping[str, Any]) -> str:
    """Returns the nearest names: whole paths, or those with the same last name in any section."""
    last = path.rpartition(".")[2]
    known = [*known_fields(), *_known_options(table)]
    same = [each for each in known if each.rpartition(".")[2] == last]
    if same:
        return f"; did you mean {' or '.join(map(repr, same))}?"
    by_last = {each.rpartition(".")[2]: each for each in known}
    found = nearest(path, known)
    if not found and (near := difflib.get_close_matches(last, by_last, n=2)):
        found = f"; did you mean {' or '.join(repr(by_last[each]) for each in near)}?"
    return found or "; `python -m jaxdiff options` lists all fields"


def _known_options(table: Mapping[str, Any]) -> list[str]:
    """Lists the options of the network and of the optimizer that the config names."""
    found = []
    named = [("network", "jaxdiff.networks", as_table(table["network"])["name"])]
    named += [("optimizer", "optax", name) for name in (table["optimizer"]["name"], "adamw")]
    for section, family, name in named:
        try:
            target = find(importlib.import_module(family), name)
            found += [f"{section}.{name}" for name in inspect.signature(target).parameters]
        except ValueError:  # the name is another mistake
            continue
    return found
