"""Lists the fields of a config, and the names of every family, with a line about each."""

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from jaxdiff import options
from jaxdiff.config import kinds
from jaxdiff.config.build import options_of
from jaxdiff.config.fields import Fields, Part

FAMILIES = {
    "tasks": "jaxdiff.tasks",
    "data": "jaxdiff.data.toy",
    "transforms": "jaxdiff.data.transforms",
    "caches": "jaxdiff.data.caches",
    "codecs": "jaxdiff.codecs",
    "schedules": "jaxdiff.diffusion.schedules",
    "parameterizations": "jaxdiff.diffusion.parameterizations",
    "preconditioning": "jaxdiff.diffusion.preconditioning",
    "networks": "jaxdiff.networks",
    "encoders": "jaxdiff.conditioning.encoders",
    "text": "jaxdiff.networks.text",
    "sources": "jaxdiff.weights.sources",
    "adapters": "jaxdiff.weights.adapters",
    "layouts": "jaxdiff.weights.layouts",
    "objectives": "jaxdiff.objectives",
    "spans": "jaxdiff.diffusion.spans",
    "distances": "jaxdiff.objectives.distances",
    "rewards": "jaxdiff.objectives.rewards",
    "time_sampling": "jaxdiff.diffusion.time_sampling",
    "weighting": "jaxdiff.diffusion.weighting",
    "optimizers": "optax",
    "learning_rate": "jaxdiff.training.learning_rate",
    "ema": "jaxdiff.training.ema",
    "writers": "jaxdiff.training.writers",
    "solvers": "jaxdiff.diffusion.solvers",
    "timesteps": "jaxdiff.diffusion.timesteps",
    "guidance": "jaxdiff.diffusion.guidance",
    "inverse": "jaxdiff.diffusion.inverse",
    "operators": "jaxdiff.diffusion.inverse.operators",
    "evaluators": "jaxdiff.evaluation.evaluators",
    "dequantization": "jaxdiff.diffusion.likelihood.dequantization",
    "integrators": "jaxdiff.diffusion.likelihood.integrators",
}
"""Families by the names that `python -m jaxdiff options NAME` takes."""

GIVEN = (
    "config",
    "process",
    "parameterization",
    "time_sampling",
    "weighting",
    "draw",
    "reference",
    "held_out",
    "embedder",
    "folder",
    "shape",
    "num_classes",
    "params",
    "statistics",
    "learning_rate",
    "mask",
    "known",
    "measurement",
    "peak",
    "split",
    "u",
)
"""Options that an experiment fills in."""

HEAD = """# Options

Written by `python -m jaxdiff options --out=docs/options.md`. `python -m jaxdiff options FAMILY`
lists a family with the types and ranges of its options.

A field is set by a flag, `--config.train.steps=1000`, whether the recipe mentions it or not. A part
is a name, `--config.sampling.solver=DDIM`, in any case and near enough spelling; a call,
`"DDIM(eta=0.5)"`; or a table, `{"name": "DDIM", "eta": 0.5}`. Its options are fields as well:
`--config.sampling.solver.eta=0.5`.
"""


def page() -> str:
    """Returns the page of all fields, and all families with their names."""
    lines = [HEAD, "## Fields", "", *_field_lines(Fields, "")]
    for name in FAMILIES:
        lines += ["", f"## {name}", "", *(_line(*each) for each in members(name))]
    return "\n".join(lines) + "\n"


def family_page(name: str) -> str:
    """Returns the names of one family with their options: defaults, types and ranges.

    Raises:
        ValueError: there is no such family.
    """
    if name not in FAMILIES:
        raise ValueError(f"there is no family {name!r}{kinds.suggest(name, list(FAMILIES))}")
    lines = [f"{name}: {_first_line(importlib.import_module(FAMILIES[name]))}", ""]
    for each, target in members(name):
        lines.append(f"{each}: {_first_line(target)}")
        for option, parameter in _options(target).items():
            default = "required" if parameter.default is parameter.empty else parameter.default
            kind = options.describe(parameter.annotation)
            lines.append(f"    {option} = {options.short(default)}: {kind}")
    return "\n".join(lines) + "\n"


def members(name: str) -> list[tuple[str, Any]]:
    """Returns the names of a family, and the classes and functions."""
    module = importlib.import_module(FAMILIES[name])
    if name == "data":
        return [*_data_sets(), *((each, getattr(module, each)) for each in kinds.names(module))]
    if name == "optimizers":
        known = importlib.import_module("jaxdiff.training.optimizer").optimizers()
        return [(each, getattr(module, each)) for each in known]
    return [(each, getattr(module, each)) for each in kinds.names(module)]


def _data_sets() -> Iterator[tuple[str, Any]]:
    sources = importlib.import_module("jaxdiff.data.sources")
    for each in sources.local_builders():
        yield each, inspect.getdoc(importlib.import_module(f"{sources.datasets.__name__}.{each}"))
    yield from sources.OURS.items()


def _field_lines(section: Any, prefix: str) -> Iterator[str]:
    defaults = section()
    for field in dataclasses.fields(section):
        value = getattr(defaults, field.name)
        if dataclasses.is_dataclass(field.type):
            yield from _field_lines(field.type, f"{prefix}{field.name}.")
            continue
        marks = getattr(field.type, "__metadata__", ())
        text = next((mark for mark in marks if isinstance(mark, str)), "")
        family = next((mark.family for mark in marks if isinstance(mark, Part)), "")
        of = f" Of [{_named(family)}](#{_named(family)})." if family else ""
        yield f"- `{prefix}{field.name} = {value!r}`: {text}{of}"


def _named(module: str) -> str:
    return next(name for name, path in FAMILIES.items() if path == f"jaxdiff.{module}")


def _line(name: str, target: Any) -> str:
    found = _options(target) if callable(target) else {}
    texts = [
        option if p.default is p.empty else f"{option}={options.short(p.default)}"
        for option, p in found.items()
        if len(repr(p.default)) < 40
    ]
    shown = ", ".join(texts)
    shown = f"({shown})" if shown and len(shown) < 100 else ""
    return f"- `{name}{shown}`: {_first_line(target)}"


def _options(target: Any) -> dict[str, inspect.Parameter]:
    found = options_of(target) if callable(target) else {}
    return {name: parameter for name, parameter in found.items() if name not in GIVEN}


def _first_line(target: Any) -> str:
    text = target if isinstance(target, str) else inspect.getdoc(target) or ""
    return text.partition("\n")[0]
