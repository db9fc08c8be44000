"""Experiments, runs and samples as a notebook shows them."""

import base64
import html
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from jaxdiff import config as configs
from jaxdiff.evaluation import report
from jaxdiff.files import atomic_write
from jaxdiff.trees import size_of

if TYPE_CHECKING:
    from jaxdiff.runs.experiment import Experiment
    from jaxdiff.runs.run import Run

Data = Float[np.ndarray, "n *shape"]

PARTS = ("process", "parameterization", "objective", "time_sampling", "weighting", "optimizer")
"""Fields of a config that a card shows, beside network, data and sampling."""


class Shown:
    """A picture or a playing clip, which a notebook shows; `save(path)` writes it.

    Attributes:
        data: the file's bytes; `kind`, "png" or "gif".
    """

    def __init__(self, data: bytes, kind: str):
        """Keeps the bytes of a file."""
        self.data, self.kind = data, kind

    def _repr_html_(self) -> str:
        content = base64.b64encode(self.data).decode()
        return f'<img src="data:image/{self.kind};base64,{content}">'

    def _repr_png_(self) -> bytes | None:
        return self.data if self.kind == "png" else None

    def __repr__(self) -> str:
        with Image.open(io.BytesIO(self.data)) as image:
            return f"<{self.kind} of {image.width}x{image.height} pixels>"

    def save(self, path: Any) -> None:
        """Writes the file."""
        with atomic_write(path) as draft:
            draft.write_bytes(self.data)


def show(x: Data, columns: int | None = None) -> Shown:
    """Returns images [n, h, w, c], clips [n, f, h, w, c] or points [n, 2] as a picture.

    Images and clips are in [-1, 1]; clips play.

    Raises:
        ValueError: the array has another shape.
    """
    name = "clips.gif" if np.ndim(x) == 5 else "picture.png"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        report.save_samples(path, x, columns)
        return Shown(path.read_bytes(), path.suffix[1:])


def of_experiment(experiment: "Experiment") -> str:
    """Returns a table in HTML: data, parts, parameters, devices."""
    config = experiment.config
    devices = list(experiment.devices.mesh.devices.flat)
    rows = {
        "task": type(experiment.task).__name__,
        "data": f"{config.data.name}, {tuple(config.data.shape)}, batches of {config.batch_size}",
        "network": configs.plain(config.network),
        **{name: configs.plain(config[name]) for name in PARTS},
        "parameters": _sizes(experiment.abstract_state().params),
        "frozen": _sizes(experiment.abstract_state().frozen),
        "devices": f"{len(devices)} of {devices[0].device_kind} ({config.parallel})",
        "steps": config.train.steps,
    }
    return _table(rows)


def of_run(run: "Run") -> str:
    """Returns a table in HTML: that of the experiment, the step, and how samples are drawn."""
    sampling = run.config.sampling
    drawn = f"{configs.plain(sampling.solver)} in {sampling.steps} steps"
    rows = {"step": run.step, "samples": f"{drawn}, guidance_scale {sampling.guidance_scale}"}
    rows |= {"folder": run.folder} if run.folder else {}
    return _table(rows) + of_experiment(run.experiment)


def _sizes(trees: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {size_of(tree):,}" for name, tree in trees.items() if size_of(tree))


def _table(rows: Mapping[str, Any]) -> str:
    lines = [
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{_written(value)}"
        "</td></tr>"
        for name, value in rows.items()
        if value not in ("", {})
    ]
    return f"<table>{''.join(lines)}</table>"


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{name}={each}" for name, each in value.items() if each is not None)
    return html.escape(str(value))
