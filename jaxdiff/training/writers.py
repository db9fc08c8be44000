"""Writers of metrics and pictures beside metrics.jsonl: TensorBoard, Weights & Biases, MLflow.

A writer is options; `open` begins or continues its record of a run:

    config.train.writers = ("TensorBoard", "WandB(project='digits')")
"""

import importlib.util
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from jaxdiff.config.fields import Text
from jaxdiff.files import AnyPath, in_bucket, read_json, write_json
from jaxdiff.options import checked

Picture = UInt8[np.ndarray, "h w c"]


@runtime_checkable
class Opened(Protocol):
    """A record of one run that numbers and pictures are added to."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Adds numbers by name, such as "loss" and "evaluation/held_out_loss"."""

    def picture(self, step: int, name: str, image: Picture) -> None:
        """Adds a picture."""

    def close(self) -> None:
        """Ends the record."""


@runtime_checkable
class Writer(Protocol):
    """Where metrics go, as options: `open(workdir, config, step)`."""

    def open(self, workdir: AnyPath, config: Mapping[str, Any], step: int) -> Opened:
        """Begins a record, or continues that of the run in this folder after `step`."""


KIND = Writer
"""The kind of objects that the names of this module build."""


@dataclass(frozen=True)
class TensorBoard:
    """Events in the folder "tensorboard", with the config on the page of hyperparameters."""

    def open(self, workdir: AnyPath, config: Mapping[str, Any], step: int) -> Opened:
        """Opens an event file; events after `step` are taken back."""
        # Here, since tensorboardX imports PyTorch where it finds it.
        from tensorboardX import SummaryWriter, summary  # noqa: PLC0415

        events: Any = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)
        numbers = {"loss": 0.0, "evaluation/held_out_loss": 0.0}
        for each in summary.hparams(flat(config), numbers):
            events.file_writer.add_summary(each)
        return _Events(events)


class _Events:
    def __init__(self, events: Any):
        self._events = events

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self._events.add_scalar(name, number, step)
        self._events.flush()

    def picture(self, step: int, name: str, image: Picture) -> None:
        self._events.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self._events.close()


@checked
@dataclass(frozen=True)
class WandB:
    """Weights & Biases; a resumed run continues its record there.

    Raises:
        ValueError: the package wandb is not installed.
    """

    project: Text = "jaxdiff"
    mode: Literal["online", "offline"] = "online"

    def __post_init__(self):
        _require("wandb", self)

    def open(self, workdir: AnyPath, config: Mapping[str, Any], step: int) -> Opened:
        """Begins a record named as the folder; its identity is kept in wandb.json."""
        import wandb  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

        file = workdir / "wandb.json"
        identity = read_json(file, dict)["id"] if file.exists() else uuid.uuid4().hex[:12]
        write_json(file, {"id": identity})
        run = wandb.init(
            project=self.project,
            mode=self.mode,
            id=identity,
            resume="allow",
            name=workdir.name,
            dir=None if in_bucket(workdir) else str(workdir),
            config=flat(config),
        )
        return _WandBRun(run, wandb.Image)


class _WandBRun:
    def __init__(self, run: Any, image: Any):
        self._run, self._image = run, image

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def picture(self, step: int, name: str, image: Picture) -> None:
        self._run.log({name: self._image(image)}, step=step)

    def close(self) -> None:
        self._run.finish()


@checked
@dataclass(frozen=True)
class MLflow:
    """MLflow: a database or a server by its address; MLflow's own default without one.

    Raises:
        ValueError: the package mlflow is not installed.
    """

    uri: str = ""
    experiment: Text = "jaxdiff"

    def __post_init__(self):
        _require("mlflow", self)

    def open(self, workdir: AnyPath, config: Mapping[str, Any], step: int) -> Opened:
        """Begins a record named as the folder; its identity is kept in mlflow.json."""
        from mlflow import (  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
            MlflowClient,
        )

        client = MlflowClient(tracking_uri=self.uri or None)
        file = workdir / "mlflow.json"
        if file.exists():
            return _MLflowRun(client, read_json(file, dict)["id"])
        known = client.get_experiment_by_name(self.experiment)
        where = known.experiment_id if known else client.create_experiment(self.experiment)
        identity = client.create_run(where, run_name=workdir.name).info.run_id
        write_json(file, {"id": identity})
        for name, value in flat(config).items():
            client.log_param(identity, name, value)
        return _MLflowRun(client, identity)


class _MLflowRun:
    def __init__(self, client: Any, identity: str):
        self._client, self._id = client, identity

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self._client.log_metric(self._id, name, number, step=step)

    def picture(self, step: int, name: str, image: Picture) -> None:
        self._client.log_image(self._id, image, f"{name}_{step:08d}.png")

    def close(self) -> None:
        self._client.set_terminated(self._id)


def opened(
    writers: Sequence[Writer], workdir: AnyPath, config: Mapping[str, Any], step: int
) -> dict[str, Opened]:
    """Opens the records of all writers, by name.

    Raises:
        ValueError: one cannot be reached or written to.
    """
    found = {}
    for writer in writers:
        name = type(writer).__name__
        try:
            found[name] = writer.open(workdir, config, step)
        except Exception as error:  # of any kind that a client has
            raise ValueError(
                f"train.writers: {name} cannot be opened ({type(error).__name__}: {error})"
            ) from error
    return found


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Returns the fields of a config by their full names; lists as texts."""
    found = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            plain = isinstance(value, str | int | float | bool)
            found[f"{prefix}{name}"] = value if plain else str(value)
    return found


def _require(package: str, writer: Any) -> None:
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"train.writers has {type(writer).__name__}, which needs: pip install {package}"
        )
