"""Checks of a config against the defaults, and its differences from another."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxdiff import options
from jaxdiff.config.fields import OPEN, Fields, Optimizer
from jaxdiff.config.kinds import suggest
from jaxdiff.config.trusted import check_trusted
from jaxdiff.files import AnyPath, as_path, read_json

Config = ConfigDict | Mapping[str, Any]

MAY_CHANGE_ON_RESUME = ("parallel", "profile", "train", "sampling", "evaluation", "weights")
"""Sections in which a resumed run may differ from its first launch: none changes the model."""

PATH_FIELDS = ("tokenizer",)
"""Paths in encoders. They may change as well; weights.json has a hash of the content."""


def check(config: Config) -> None:
    """Checks the fields of a config; what they name is checked when it is built.

    Raises:
        ValueError: a field is unknown, with the closest names, or missing; or it has a value of
            the wrong type or range.
    """
    plain = as_dict(config)
    _check(plain, Fields, "")
    for name, changes in plain["optimizers"].items():
        options.check(f"optimizers.{name}", Mapping[str, Any], changes)
        every = {"every": options.Size}
        for field, kind in {**_kinds(Optimizer), **every}.items():
            if field in changes:
                options.check(f"optimizers.{name}.{field}", kind, changes[field])


def as_dict(config: Config) -> dict[str, Any]:
    """Returns the config as JSON would give it back: plain dicts and lists.

    Raises:
        ValueError: it holds an object that JSON has no form for.
    """
    return _plain(config, "config")


def read_config(workdir: str | AnyPath, *, only_compared: bool = False) -> ConfigDict:
    """Reads the config of a run, which may name parts only of modules that are allowed.

    One that is `only_compared` and builds nothing may name any. Fields that are younger than the
    run have their defaults. Weights that begin with "./" or "../" are other runs beside this one,
    where there are such.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: its config.json is damaged, or names another module; see `config.trusted`.
    """
    path = as_path(workdir) / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{workdir} holds no run: there is no {path}")
    try:
        table = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(table, dict):
        raise ValueError(f"{path} is damaged: it holds {options.short(table)}, not a config")
    if not only_compared:
        check_trusted(table, str(path))
    if "data" not in table:
        return ConfigDict(table)
    found = _completed(table, dataclasses.asdict(Fields()))
    return ConfigDict({**found, "weights": _located(found["weights"], as_path(workdir))})


def _completed(table: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config with the fields that did not exist yet when it was written."""
    found = {**defaults, **table}
    for name, default in defaults.items():
        if dataclasses.is_dataclass(getattr(Fields, name, None)) and isinstance(found[name], dict):
            found[name] = {**default, **found[name]}
    return found


def _located(weights: Any, workdir: AnyPath) -> Any:
    """Returns the sources of weights, of which those that lie beside the run have its folder."""
    if not isinstance(weights, Mapping):
        return weights

    def located(source: Any) -> Any:
        if not isinstance(source, str) or not source.startswith(("./", "../")):
            return source
        protocol, colon, path = os.fspath(workdir).rpartition("://")
        beside = f"{protocol}{colon}{os.path.normpath(os.path.join(path, source))}"
        return beside if (as_path(beside) / "config.json").is_file() else source

    return {name: located(source) for name, source in weights.items()}


def plain(spec: Any) -> Any:
    """Returns a section of a config as a plain dict; anything else as it is."""
    return spec.to_dict() if isinstance(spec, ConfigDict) else spec


def differences(config: Config, other: Config) -> list[str]:
    """Returns "field: other's value -> config's value" wherever they contradict each other."""
    return [line for path, line in _changes(config, other) if not _may_change(path)]


def allowed_changes(config: Config, other: Config) -> list[str]:
    """Returns the same lines for the fields that may change between launches of a run."""
    return [line for path, line in _changes(config, other) if _may_change(path)]


def _plain(value, path):
    value = dict(value.items()) if isinstance(value, ConfigDict) else value
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"{path} has the key {options.short(wrong[0])}; expected texts")
        inside = "" if path == "config" else f"{path}."
        return {key: _plain(each, inside + key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, path) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(
        f"{path} is {options.short(value)}, which JSON has no form for; expected numbers, texts,"
        " lists, tables; a part is a spec, such as 'DDIM(eta=1)'"
    )


def _changes(config, other):
    a, b = flat(as_dict(config)), flat(as_dict(other))
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            old, new = (found.get(name, "absent") for found in (b, a))
            yield name.split("."), f"{name}: {old!r} -> {new!r}"


def _may_change(path):
    if path[0] in ("optimizer", "optimizers") and "schedule" in path:
        return True
    rate = path[0] in ("optimizer", "optimizers") and path[-1] == "learning_rate"
    tokenizer = path[0] == "encoders" and path[-1] in PATH_FIELDS
    return rate or tokenizer or path[0] in MAY_CHANGE_ON_RESUME


def _check(config, section, prefix):
    kinds = _kinds(section)
    for name in config:
        if name not in kinds and prefix.rstrip(".") not in OPEN:
            raise ValueError(f"unknown config field {prefix + name!r}{suggest(name, list(kinds))}")
    for name, kind in kinds.items():
        if name not in config:
            raise ValueError(f"the config has no field {prefix + name!r}; begin from default()")
        if dataclasses.is_dataclass(kind):
            options.check(prefix + name, dict, config[name])
            _check(config[name], kind, f"{prefix}{name}.")
        else:
            options.check(prefix + name, kind, config[name])


def _kinds(section):
    return {field.name: field.type for field in dataclasses.fields(section)}


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of a table of tables by their paths, "train.steps"."""
    found = {}
    for name, value in table.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
