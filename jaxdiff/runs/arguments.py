"""The numbers in which the runs of a sweep differ: arguments of a program that they share."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jaxdiff import config as configs
from jaxdiff.config.checks import flat
from jaxdiff.config.specs import as_table
from jaxdiff.runs.experiment import recipe_of
from jaxdiff.runs.launchers import Launch
from jaxdiff.training.numbers import differing

logger = logging.getLogger(__name__)

WITH_NUMBERS = ("process", "objective", "weighting", "time_sampling", "ema", "condition_dropout")
"""Fields whose floats may differ between runs of one program."""

APART = ("seed", "sampling", "evaluation", "parallel", "profile")
"""Fields that the program of a step does not depend on."""


def with_arguments(launches: Sequence[Launch]) -> list[Launch]:
    """Returns the runs, each with the floats that are arguments of its step.

    Those are the floats in which runs differ that one program may train: they compile once, since
    the compilation cache has the program of the first. Runs that cannot be built are returned as
    they are, to say why when they are launched.
    """
    groups: dict[str, list[Launch]] = {}
    for each in launches:
        groups.setdefault(program_of(each.config), []).append(each)
    paths = {program: _differing(group) for program, group in groups.items()}
    return [replace(each, arguments=paths[program_of(each.config)]) for each in launches]


def _differing(launches: Sequence[Launch]) -> Sequence[str]:
    fields = [configs.as_dict(each.config) for each in launches]
    if len({repr([each.get(name) for name in WITH_NUMBERS]) for each in fields}) == 1:
        return ()
    try:
        return differing([recipe_of(each.config).floats for each in launches])
    except Exception as error:  # it is that of a run, which fails by itself
        logger.info("numbers are not arguments of the step: %s", error)
        return ()


def program_of(config: Any) -> str:
    """Returns a text that is the same for configs whose steps differ in numbers only."""
    found = {}
    for name, value in configs.as_dict(config).items():
        if name in WITH_NUMBERS:
            found[name] = "a number" if isinstance(value, float) else _without_numbers(value)
        elif name not in APART:
            found[name] = value
    kept = {path: value for path, value in flat(found).items() if not _is_rate(path)}
    return repr(sorted(kept.items(), key=lambda item: item[0]))


def _is_rate(path: str) -> bool:
    words = path.split(".")
    return words[0] in ("optimizer", "optimizers") and (
        "schedule" in words or words[-1] == "learning_rate"
    )


def _without_numbers(spec: Any) -> Any:
    if isinstance(spec, float):
        return "a number"
    if isinstance(spec, str) or (isinstance(spec, Mapping) and "name" in spec):
        try:
            spec = as_table(spec)
        except ValueError:
            return spec
        return {
            name: value if name == "name" else _without_numbers(value)
            for name, value in spec.items()
        }
    return spec
