"""Writers of metrics beside metrics.jsonl: their numbers, and the failure of one."""

import importlib.machinery
import json
import sys
import types
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxdiff.config.build import build
from jaxdiff.training import writers
from jaxdiff.training.metrics import MetricsLog
from jaxdiff.training.writers import TensorBoard, WandB, flat

CONFIG = {"optimizer": {"learning_rate": 0.5}, "process": "Cosine", "conditions": ("label",)}


@dataclass
class Recording:
    """A writer of my own; it fails at a loss of 13."""

    lines: list[Any] = field(default_factory=list)

    def open(self, workdir, config, step):
        self.lines.append(("open", workdir.name, config["process"], step))
        return self

    def write(self, step, numbers):
        if numbers.get("loss") == 13.0:
            raise ConnectionError("the server is gone")
        self.lines.append((step, numbers))

    def picture(self, step, name, image):
        self.lines.append((step, name, image.shape))

    def close(self):
        self.lines.append("close")


def test_a_writer_gets_flat_numbers_and_one_that_fails_ends_nothing(tmp_path, caplog):
    """Fails if an error of a server ends the training, or loses a line of metrics.jsonl."""
    mine = Recording()
    writer = MetricsLog(tmp_path, 3, [mine], CONFIG)
    writer.write(4, {"loss": 1.0, "evaluation": {"fid": 2.0, "name": "text"}})
    writer.picture(4, "samples", np.zeros((2, 2, 3), np.uint8))
    assert mine.lines[0] == ("open", tmp_path.name, "Cosine", 3)
    assert mine.lines[1:] == [(4, {"loss": 1.0, "evaluation/fid": 2.0}), (4, "samples", (2, 2, 3))]
    writer.write(5, {"loss": 13.0})
    writer.write(6, {"loss": 2.0})
    writer.close()
    assert len(mine.lines) == 3
    assert caplog.text.count("the server is gone") == 1
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()]
    assert steps == [4, 5, 6]


def test_a_writer_that_cannot_be_opened_is_named(tmp_path):
    class Shut(Recording):
        def open(self, workdir, config, step):
            raise PermissionError("no key")

    with pytest.raises(ValueError, match=r"train.writers: Shut cannot be opened .*no key"):
        MetricsLog(tmp_path, 0, [Shut()], CONFIG)


def test_tensorboard_has_the_config_on_its_page_of_hyperparameters(tmp_path):
    """Read back from the event file; fails if a field is missing."""
    record = TensorBoard().open(tmp_path, CONFIG, 0)
    record.write(1, {"loss": 2.0})
    record.close()
    (file,) = (tmp_path / "tensorboard").glob("events*")
    events, data = [], file.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    values = [value for event in events for value in event.summary.value]
    assert [(v.tag, v.simple_value) for v in values if v.simple_value] == [("loss", 2.0)]
    session = b"".join(v.metadata.plugin_data.content for v in values if "hparams" in v.tag)
    assert all(text in session for text in (b"optimizer.learning_rate", b"Cosine", b"label"))


def test_a_resumed_run_continues_its_record(tmp_path, monkeypatch):
    """With a stand-in for the client; fails if the second launch begins a record anew."""
    begun = []
    fake = types.ModuleType("wandb")
    fake.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    fake.init = lambda **options: begun.append(options)
    fake.Image = None
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (0, 7):
        WandB(project="digits").open(tmp_path, CONFIG, step)
    assert begun[0]["id"] == begun[1]["id"]
    assert begun[0]["resume"] == "allow"
    assert begun[0]["config"] == flat(CONFIG) | {"optimizer.learning_rate": 0.5}


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"has MLflow, which needs: pip install mlflow"):
        build(writers, "MLflow(uri='http://here:5000')")
