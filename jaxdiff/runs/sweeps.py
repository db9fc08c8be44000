"""Sweeps: the variations of a recipe, by product, zip and draws, and a name for each.

A variation maps fields of the config to values, `{"process": "Cosine", "seed": 1}`. A recipe has
its sweeps as generators beside `get_config`:

    def sweep_schedules():
        for process in ("Cosine", "RectifiedFlow"):
            yield {"process": process}
"""

import ast
import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import qmc

from jaxdiff.config.kinds import suggest

Variation = dict[str, Any]

LONGEST = 120
"""Characters of a name; a longer one ends in a hash instead."""


def product(*sweeps: Iterable[Variation]) -> Iterator[Variation]:
    """Yields each variation of one sweep with each of the others."""
    for parts in itertools.product(*map(list, sweeps)):
        yield merged(parts)


def zipped(*sweeps: Iterable[Variation]) -> Iterator[Variation]:
    """Yields the first variations of all sweeps together, then the second ones, and so on.

    Raises:
        ValueError: the sweeps are not equally long.
    """
    for parts in zip(*sweeps, strict=True):
        yield merged(parts)


def merged(parts: Iterable[Variation]) -> Variation:
    """Returns one variation of several.

    Raises:
        ValueError: two of them set the same field.
    """
    found: Variation = {}
    for part in parts:
        if twice := sorted(set(found) & set(part)):
            raise ValueError(f"{twice[0]!r} is set by two sweeps")
        found |= part
    return found


@dataclass(frozen=True)
class Uniform:
    """Numbers between `low` and `high`, evenly; whole numbers if both are."""

    low: int | float
    high: int | float

    def __call__(self, u: float) -> int | float:
        """Returns the quantile of u in [0, 1)."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        if whole:
            return self.low + math.floor(u * (self.high - self.low + 1))
        return self.low + u * (self.high - self.low)


@dataclass(frozen=True)
class LogUniform:
    """Positive numbers between `low` and `high`, evenly in the logarithm."""

    low: int | float
    high: int | float

    def __call__(self, u: float) -> float:
        """Returns the quantile of u in [0, 1), in three digits, so that names are readable."""
        return float(f"{self.low * (self.high / self.low) ** u:.3g}")


def draws(
    num: int, ranges: Mapping[str, Any], *, seed: int = 0, quasi: bool = True
) -> Iterator[Variation]:
    """Yields `num` variations drawn from ranges by field: `Uniform`, `LogUniform`, or a list.

    Quasi-random draws (Sobol's, shifted by the seed) fill the ranges evenly; the first draws stay
    the same when `num` grows.
    """
    rng = np.random.default_rng(seed)
    if quasi:
        sobol = qmc.Sobol(len(ranges), scramble=False).random_base2(max(num - 1, 0).bit_length())
        points = (sobol[:num] + rng.random(len(ranges))) % 1
    else:
        points = rng.random((num, len(ranges)))
    for point in points:
        yield {
            field: within[int(u * len(within))] if isinstance(within, Sequence) else within(u)
            for (field, within), u in zip(ranges.items(), point.tolist(), strict=True)
        }


def written(text: str) -> list[Variation]:
    """Returns the variations of one field as a flag has them: "seed=0:3", "process=EDM,Cosine".

    Commas within brackets and quotes belong to a value.

    Raises:
        ValueError: there is no field or no value.
    """
    field, equals, values = text.partition("=")
    if not equals or not field or not values:
        raise ValueError(f"sweep={text!r}: write a field and its values, such as seed=0:3")
    if found := re.fullmatch(r"(-?\d+):(-?\d+)", values):
        return [{field: number} for number in range(*map(int, found.groups()))]
    return [{field: _value(each)} for each in _split(values)]


def of_recipe(module: Any, name: str) -> list[Variation]:
    """Returns the variations that a recipe's generator `sweep_<name>` yields.

    Raises:
        ValueError: the recipe has no such generator; lists those that it has.
    """
    known = [each.removeprefix("sweep_") for each in vars(module) if each.startswith("sweep_")]
    if name not in known:
        listed = ", ".join(known) or "none"
        raise ValueError(f"the recipe has no sweep {name!r}{suggest(name, known)}; it has {listed}")
    return list(getattr(module, f"sweep_{name}")())


def named(variations: Sequence[Variation]) -> dict[str, Variation]:
    """Returns the variations by name: "process=EDM,seed=0", the same in any order and selection.

    Raises:
        ValueError: two variations are the same.
    """
    found: dict[str, Variation] = {}
    fields = sorted({field for variation in variations for field in variation})
    labels = _labels(fields)
    for variation in variations:
        parts = [f"{labels[field]}={_slug(variation[field])}" for field in sorted(variation)]
        name = ",".join(parts)
        if len(name) > LONGEST:
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            name = f"{name[: LONGEST - 9]}-{digest}"
        if name in found:
            raise ValueError(f"two variations have one name, {name!r}: {variation}")
        found[name] = variation
    return found


def texts(variation: Variation) -> list[tuple[str, str]]:
    """Returns the fields of a variation with their values as flags have them."""
    return [(f, value if isinstance(value, str) else repr(value)) for f, value in variation.items()]


def _labels(fields: Sequence[str]) -> dict[str, str]:
    """Returns the last word of each field, or more where two fields end in the same word."""
    last = [field.rpartition(".")[2] for field in fields]
    return {f: word if last.count(word) == 1 else f for f, word in zip(fields, last, strict=True)}


def _slug(value: Any) -> str:
    """Returns a value as part of a file's name."""
    text = value if isinstance(value, str) else f"{value:g}" if _number(value) else repr(value)
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", text).strip("_") or "none"


def _number(value: Any) -> bool:
    return isinstance(value, float) and float(f"{value:g}") == value


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _split(text: str) -> list[str]:
    """Splits at commas that are in no bracket and no quote."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
