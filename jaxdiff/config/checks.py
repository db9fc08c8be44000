"""Checks of a config against the defaults, and its differences from another."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxdiff.config.build import suggest
from jaxdiff.config.defaults import default

Config = ConfigDict | Mapping[str, Any]

OPEN_SECTIONS = (
    "adapters",
    "codec",
    "data",
    "encoders",
    "network",
    "optimizer",
    "optimizers",
    "task",
    "weights",
)
"""Sections whose further fields are options of what they name, checked when it is built."""

MAY_CHANGE_ON_RESUME = ("parallel", "train", "sampling", "evaluation", "weights")
"""Sections in which a resumed run may differ from its first launch: none changes the model."""

PATH_FIELDS = ("tokenizer",)
"""Paths in encoders. They may change as well; weights.json has a hash of the content."""


def check(config: Config) -> None:
    """Raises ValueError if a field is unknown, with the closest name, or missing."""
    _check(as_dict(config), as_dict(default()), "")


def as_dict(config: Config) -> dict[str, Any]:
    """Returns the config as JSON would give it back: plain dicts and lists."""
    return json.loads(ConfigDict(dict(config)).to_json())


def read_config(workdir: str | Path) -> ConfigDict:
    """Reads the config of a run.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: its config.json is damaged.
    """
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{workdir} holds no run: there is no {path}")
    try:
        return ConfigDict(json.loads(path.read_text()))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def plain(spec: Any) -> Any:
    """Returns a section of a config as a plain dict; anything else as it is."""
    return spec.to_dict() if isinstance(spec, ConfigDict) else spec


def differences(config: Config, other: Config) -> list[str]:
    """Returns "field: other's value -> config's value" wherever they contradict each other."""
    a, b = _flat(as_dict(config)), _flat(as_dict(other))
    return [
        f"{name}: {b.get(name, 'absent')!r} -> {a.get(name, 'absent')!r}"
        for name in sorted(a.keys() | b.keys())
        if a.get(name) != b.get(name) and not _free(name.split("."))
    ]


def _free(path):
    return path[0] in MAY_CHANGE_ON_RESUME or (path[0] == "encoders" and path[-1] in PATH_FIELDS)


def _check(config, known, prefix):
    for name in config:
        if name not in known:
            raise ValueError(f"unknown config field {prefix + name!r}{suggest(name, list(known))}")
    for name in known:
        if name not in config:
            raise ValueError(f"the config has no field {prefix + name!r}; begin from default()")
        if isinstance(known[name], dict) and name not in OPEN_SECTIONS:
            _check(config[name], known[name], f"{prefix}{name}.")


def _flat(tree, prefix=""):
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
