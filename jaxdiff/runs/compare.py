"""Runs side by side: one table of what differs and what was measured, and pictures of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdiff.config.checks import flat
from jaxdiff.evaluation.report import read_metrics
from jaxdiff.files import AnyPath, as_path, files_in, read_json

SEED = "seed"
"""The field over which means and intervals are taken."""


@dataclass(frozen=True)
class Record:
    """A run as a row: its folder, the fields in which it differs, its figures, its loss curve.

    `figures` has the last value of each number in metrics.jsonl ("loss",
    "evaluation.held_out_loss") and in metrics.json ("frechet_distance"). `curve` has steps and
    losses.
    """

    workdir: AnyPath
    fields: Mapping[str, Any]
    figures: Mapping[str, float]
    curve: tuple[Sequence[int], Sequence[float]]

    @property
    def name(self) -> str:
        """Returns the name of the run's folder."""
        return self.workdir.name

    def row(self) -> dict[str, Any]:
        """Returns the row of the table."""
        return {"run": self.name, **self.fields, **self.figures}


def figures_of(workdir: AnyPath) -> dict[str, float]:
    """Returns the figures of a run as `Record` has them; none of a run that has not begun."""
    found: dict[str, float] = {}
    for line in read_metrics(workdir):
        found |= {name: v for name, v in flat(line).items() if isinstance(v, int | float)}
    file = workdir / "metrics.json"
    later = flat(read_json(file)) if file.exists() else {}
    found |= {name: value for name, value in later.items() if isinstance(value, int | float)}
    return {n: v for n, v in found.items() if n != "step" and not n.startswith("loss_by_logsnr")}


def _curve(workdir: AnyPath) -> tuple[list[int], list[float]]:
    lines = [line for line in read_metrics(workdir) if "loss" in line]
    return [line["step"] for line in lines], [line["loss"] for line in lines]


def records(folder: str | AnyPath) -> list[Record]:
    """Returns the runs below a folder, or the folder's own run, by name.

    Raises:
        ValueError: there is no run.
    """
    found = [path.parent for path in files_in(as_path(folder)) if path.name == "config.json"]
    found = [each for each in found if (each / "metrics.jsonl").is_file()]
    if not found:
        raise ValueError(f"{folder} has no runs: no folder in it has config.json and metrics.jsonl")
    configs = [flat(read_json(each / "config.json")) for each in found]
    names = sorted({name for config in configs for name in config})
    differing = [n for n in names if len({repr(config.get(n)) for config in configs}) > 1]
    return [
        Record(each, {n: config.get(n) for n in differing}, figures_of(each), _curve(each))
        for each, config in zip(found, configs, strict=True)
    ]


def frame(folder: str | AnyPath) -> Any:
    """Returns the table of `records` as a pandas data frame, a run a row."""
    import pandas  # noqa: PLC0415 - of the extra `compare`

    return pandas.DataFrame([each.row() for each in records(folder)]).set_index("run")


def over_seeds(found: Sequence[Record], metric: str) -> list[dict[str, Any]]:
    """Returns for each variation the mean of a metric over seeds and its 95 % interval, best first.

    The interval is a bootstrap of the mean, 2,000 times with a fixed seed; with one seed it is the
    value itself. Runs without the metric are left out; lower is better.

    Raises:
        ValueError: no run has the metric; lists those that there are.
    """
    groups: dict[str, list[float]] = {}
    fields: dict[str, Mapping[str, Any]] = {}
    for each in found:
        if metric in each.figures:
            rest = {n: value for n, value in each.fields.items() if n != SEED}
            groups.setdefault(repr(rest), []).append(each.figures[metric])
            fields[repr(rest)] = rest
    if not groups:
        known = ", ".join(sorted({name for each in found for name in each.figures}))
        raise ValueError(f"metric={metric!r} is in no run; there are {known}")
    rows = []
    for key, values in groups.items():
        mean, count = float(np.mean(values)), len(values)
        rows.append({**fields[key], metric: mean, "interval": _interval(values), "runs": count})
    return sorted(rows, key=lambda row: row[metric])


def effects(found: Sequence[Record], metric: str) -> dict[str, dict[str, float]]:
    """Returns for each field the mean of a metric at each of its values, over all other fields."""
    having = [each for each in found if metric in each.figures]
    effect: dict[str, dict[str, float]] = {}
    for name in sorted({name for each in having for name in each.fields}):
        by_value: dict[str, list[float]] = {}
        for each in having:
            by_value.setdefault(str(each.fields[name]), []).append(each.figures[metric])
        effect[name] = {value: float(np.mean(all_)) for value, all_ in sorted(by_value.items())}
    return effect


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as a table in Markdown; a missing cell is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names)]
    lines += [[_cell(row.get(name)) for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return " to ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|")
