"""Entries and parts as `config.weights` describes them: sources, fates, paths."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdiff import config as configs
from jaxdiff.config.build import build
from jaxdiff.typing import Frozen
from jaxdiff.weights import sources


def given(config: Any, name: str, read: Any) -> dict[str, Any]:
    """Returns the source and the fate that `config.weights` gives an entry."""
    spec = configs.plain(config.weights.get(name, ""))
    options = dict(spec) if isinstance(spec, Mapping) and "name" not in spec else {"source": spec}
    unknown = set(options) - {"source", "trained", "averaged"}
    if unknown:
        raise ValueError(
            f"weights.{name}: unknown {sorted(unknown)}; known: source, trained, averaged"
        )
    field = f"weights.{name}"
    try:
        source = sources.source(options.pop("source", ""), read)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
    return {"source": source, "config_field": field, **options}


def build_part(config: Any, family: Any, name: str, spec: Any) -> Any:
    """Returns a codec or an encoder, with the path of its weights or of each of its parts'."""
    spec, paths = configs.plain(spec), configs.plain(config.weights.get(name, ""))
    if isinstance(spec, Mapping) and "weights" in spec:
        raise ValueError(f"{name} names weights={spec['weights']!r}: set weights.{name} instead")
    if not isinstance(paths, Mapping):
        return build(family, spec, **({"weights": paths} if paths else {}))
    spec = dict(spec)
    for part, path in paths.items():
        if part not in spec:
            raise ValueError(f"weights.{name} has {part!r}; {spec['name']} has {sorted(spec)}")
        spec[part] = {**spec[part], "weights": path}
    return build(family, spec)


def unnamed_in(part: Any, field: str) -> list[str]:
    """Returns the config fields of a part, and of the parts within, whose weights have no path."""
    unnamed = []
    for each in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
        value = getattr(part, each.name)
        if each.name == "weights" and not value:
            unnamed.append(field)
        elif isinstance(value, Frozen):
            unnamed += unnamed_in(value, f"{field}.{each.name}")
    return unnamed
