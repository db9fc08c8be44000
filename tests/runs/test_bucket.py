"""Runs whose folder is in a bucket."""

import json
import logging
from unittest.mock import MagicMock

import fsspec
import jax
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment
from jaxdiff.files import as_path, atomic_write, check_writable, files_in, move_folder, read_json
from jaxdiff.runs.compare import records
from jaxdiff.training.checkpoint import Checkpoints
from jaxdiff.weights import sources
from jaxdiff.weights.stored import steps_in
from tests.support.bucket import bucket_in
from tests.support.tiny import points_config


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    return as_path(bucket_in(tmp_path, monkeypatch))


def config_of(steps):
    config = points_config()
    config.train.steps, config.train.log_every, config.train.checkpoint_every = steps, 2, 2
    config.train.keep_checkpoints, config.train.writers = 2, ()
    config.train.evaluate_every, config.evaluation.evaluators = (
        steps,
        ("SampleGrid(points=8, columns=2)",),
    )
    return config


def test_a_run_in_a_bucket_is_the_one_on_a_disk(bucket, tmp_path, caplog):
    """Fails if anything goes to a folder named "gs:", if it begins anew, or if a metric is lost."""
    experiment = Experiment(config_of(8))
    run = bucket / "run"
    with caplog.at_level(logging.WARNING):
        experiment.train(str(run), until=4)
    assert "a bucket has no locks" in caplog.text
    experiment.train(run)
    assert steps_in(run / "checkpoints") == [6, 8]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8]
    assert (run / "samples" / "step_00000008.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "bucket" / "run" / "lock.json").exists()

    experiment.train(tmp_path / "disk")
    there, here = jaxdiff.load(str(run)), jaxdiff.load(tmp_path / "disk")
    assert there.step == 8
    for a, b in zip(*map(jax.tree.leaves, (there.weights, here.weights)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [each.workdir.name for each in records(bucket)] == ["run"]
    source = sources.source(str(run))
    assert isinstance(source, sources.OfRun)
    assert jax.tree.structure(source.shapes()) == jax.tree.structure(there.weights["network"])
    assert len(source.fingerprint()) == 32


def test_a_checkpoint_that_is_not_whole_is_none(bucket, tmp_path):
    """Fails if a reader takes it, or if a run that was killed in its first one cannot begin."""
    folder = bucket / "checkpoints"
    (folder / "4" / "params" / "d").write_bytes(b"half")
    (folder / "2" / "commit_success.txt").write_bytes(b"")
    assert steps_in(folder) == [2]
    (folder / "2" / "commit_success.txt").unlink()
    Checkpoints(folder)
    assert steps_in(folder) == [] and not folder.is_dir()


def test_files_are_whole_or_absent(bucket):
    """Fails if a file that was not finished is sent."""
    file = bucket / "folder" / "numbers.json"
    with pytest.raises(ZeroDivisionError), atomic_write(file) as draft:
        draft.write_text(f"{1 / 0}")
    assert not file.exists()
    with atomic_write(file) as draft:
        draft.write_text("[1]")
    check_writable(file)
    assert read_json(file, list) == [1]
    assert list(files_in(bucket)) == [file]
    move_folder(bucket / "folder", bucket / "other")
    assert list(files_in(bucket)) == [bucket / "other" / "numbers.json"]


def test_a_path_of_another_kind_is_refused(monkeypatch):
    monkeypatch.setattr(fsspec, "get_filesystem_class", MagicMock(side_effect=ImportError("gcsfs")))
    with pytest.raises(
        ValueError, match="'s3://bucket/x': expected a path on a disk, or in a buck"
    ):
        as_path("s3://bucket/x")
    with pytest.raises(ValueError, match=r"'gs://bucket' needs: pip install jaxdiff\[gcs\]"):
        as_path("gs://bucket")
