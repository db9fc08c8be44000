"""One interface to everything that draws: released models, and our own runs.

source = open_source("pretrained/fashion_mnist_teacher")
pictures = source.draw(Request(prompt="3", steps=20))
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

import jaxdiff
from jaxdiff.studio.folders import INDEX, Folders
from jaxdiff.studio.own_runs import OfRun, class_names
from jaxdiff.studio.released import Released
from jaxdiff.studio.requests import Images, Request, Watch, alike

__all__ = ["OfRun", "Released", "Request", "Source", "alike", "open_source"]


@runtime_checkable
class Source(Protocol):
    """Something that draws pictures, with a name."""

    name: str

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Returns its solver, steps, guidance_scale, size; classes and maps, if it has them."""

    def draw(self, request: Request, watch: Watch | None = None) -> Images:
        """Returns pictures in [-1, 1].

        Raises:
            ValueError: it cannot do what is asked.
        """

    def together(self, requests: Sequence[Request], watch: Watch | None = None) -> list[np.ndarray]:
        """Returns the pictures of each of several requests that are `alike`, drawn as one."""

    def code(self, request: Request) -> tuple[str, str]:
        """Returns the Python, and the command line, that draw the same."""


def open_source(path: str | Path, folders: Folders | None = None, **options: Any) -> Source:
    """Returns a source of a path: a run's folder, a diffusers folder, or a single file.

    Raises:
        ValueError: it is none of these.
        FileNotFoundError: there is nothing.
    """
    path = Path(path)
    name = path.stem if path.suffix else path.name
    if path.is_dir() and not (path / INDEX).is_file() and (path / "config.json").is_file():
        run = jaxdiff.load(path, **options)
        return OfRun(name, run, class_names(run))
    return Released(name, path, jaxdiff.released(path, **options), folders)
