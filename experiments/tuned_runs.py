"""Runs that were tuned on top of one model, and their samples, for the pages about them."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

import jaxdiff
from jaxdiff import Run
from jaxdiff.evaluation import prompted
from jaxdiff.evaluation.films import Sheet
from jaxdiff.files import read_json, write_json

STEPS = 8
"""Of the solver, for each sample."""

BORDER = 4
"""Pixels at the sides that show the ground."""


def folders_of(runs: str) -> list[Path]:
    """Returns the folders of runs with checkpoints inside a folder, a method each."""
    return sorted({path.parents[1] for path in Path(runs).glob("*/checkpoints/[0-9]*")})


def measured(
    ledger: Path,
    num: int,
    folders: list[Path],
    first: Callable[[], Mapping[str, Any]],
    of_run: Callable[[Run], Mapping[str, Any]],
) -> dict[str, Any]:
    """Returns the figures of each checkpoint, of which a file keeps those that are known.

    The file has "num", the samples of each figure, and "rows": those of `first`, and "method step"
    for each checkpoint. With another number of samples, all are measured again.
    """
    known = read_json(ledger, dict) if ledger.exists() else {}
    if known.get("num") != num:
        known = {"num": num, "rows": {}}
    rows: MutableMapping[str, Any] = known["rows"]
    if not rows:
        rows |= first()
        write_json(ledger, known)
    for name, folder, step in _checkpoints(folders):
        if name not in rows:
            rows[name] = of_run(jaxdiff.load(folder, step=step))
            write_json(ledger, known)
            print(name, rows[name], flush=True)
    return known


def _checkpoints(folders: list[Path]) -> Iterator[tuple[str, Path, int]]:
    for folder in folders:
        names = (path.name for path in (folder / "checkpoints").iterdir())
        for step in sorted(int(name) for name in names if name.isdigit()):
            yield f"{folder.name} {step}", folder, step


def by_method(rows: Mapping[str, Any]) -> list[tuple[str, int, Mapping[str, Any]]]:
    """Returns method, step and figures of each checkpoint, in order."""
    split = (name.split() for name in rows if " " in name)
    return sorted((method, int(step), rows[f"{method} {step}"]) for method, step in split)


def sampled(run: Run, texts: list[str], seed: int = 1) -> np.ndarray:
    """Returns a sample for each prompt, by the same noise in all runs."""
    return np.clip(run.sample(len(texts), {"text": texts}, seed=seed, steps=STEPS), -1, 1)


def sides(image: np.ndarray) -> np.ndarray:
    """Returns the pixels [n, c] at the four sides of a picture."""
    inside = np.zeros(image.shape[:2], bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    return image[~inside]


def wide(rows: list[np.ndarray], names: list[str]) -> Sheet:
    """Returns a sheet of rows of images, each under its name, all as wide as the widest."""
    most = max(map(len, rows))
    fill = lambda row: np.concatenate([row, np.ones((most - len(row), *row.shape[1:]))])
    return prompted.prompted([fill(row) for row in rows], names)
