"""Trainings that the studio launches: recipes of the package, each in a process of its own.

A training is `python -m jaxdiff train --config=NAME --workdir=...` and goes on if the studio ends.
SIGTERM ends it after its step with a checkpoint; the same launch resumes it.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxdiff.config.kinds import suggest
from jaxdiff.config.recipes import folder
from jaxdiff.evaluation.report import read_metrics
from jaxdiff.studio.folders import inside

FIELD = re.compile(r"[\w.]+=[\w.,()\[\]'\" +-]*")
"""A field with its value. Without a colon, it names no module."""
SHOWN = 4000
"""Characters of the log that are shown."""


@dataclass(eq=False)
class Trainings:
    """Trainings in folders below `root`, by their names."""

    root: Path
    running: dict[str, subprocess.Popen] = field(default_factory=dict)

    def launch(self, recipe: str, name: str, changes: Sequence[str] = ()) -> list[str]:
        """Begins a training, or resumes it, and returns its command.

        Raises:
            ValueError: there is no such recipe; the name leads out of the folder; a change is none;
                the training runs already.
        """
        command = self.command(recipe, name, changes)
        if self.runs(name):
            raise ValueError(f"{name!r} trains already")
        workdir = inside(self.root, name)
        workdir.mkdir(parents=True, exist_ok=True)
        with (workdir / "log.txt").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return command

    def command(self, recipe: str, name: str, changes: Sequence[str] = ()) -> list[str]:
        """Returns the command of a training.

        Raises:
            ValueError: there is no such recipe; the name leads out of the folder; a change is none.
        """
        plain = recipe.partition(":")[0]
        if plain not in recipes():
            raise ValueError(f"there is no recipe {plain!r}{suggest(plain, recipes())}")
        if not re.fullmatch(r"[\w.:-]+", recipe):
            raise ValueError(f"{recipe!r} is no recipe with a variant, such as digits:edm")
        for change in changes:
            if not FIELD.fullmatch(change):
                raise ValueError(f"{change!r} is no field with a value, such as train.steps=1000")
        workdir = inside(self.root, name)
        flags = [f"--config={recipe}", f"--workdir={workdir}"]
        flags += [f"--config.{change}" for change in changes]
        return ["python", "-m", "jaxdiff", "train", *flags]

    def runs(self, name: str) -> bool:
        """Returns whether a training of this studio is in progress."""
        process = self.running.get(name)
        return process is not None and process.poll() is None

    def stop(self, name: str) -> None:
        """Ends a training after its step, with a checkpoint."""
        if self.runs(name):
            os.kill(self.running[name].pid, signal.SIGTERM)

    def state(self, name: str) -> tuple[str, list[dict[str, Any]], Path | None]:
        """Returns the end of a training's log, its metrics, and its newest grid of samples."""
        workdir = inside(self.root, name)
        file = workdir / "log.txt"
        log = file.read_text(errors="replace")[-SHOWN:] if file.is_file() else ""
        grids = sorted((workdir / "samples").glob("*.png"))
        return log, read_metrics(workdir), grids[-1] if grids else None


def recipes() -> list[str]:
    """Returns the names of the package's recipes."""
    return sorted(path.stem for path in folder("recipes", "configs").glob("*.py"))
