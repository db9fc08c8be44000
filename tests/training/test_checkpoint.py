"""Checkpoints that were damaged, and what the metrics files do on a resume."""

import errno
import json
import logging
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from jaxdiff.training import state
from jaxdiff.training.checkpoint import CheckpointError, Checkpoints
from jaxdiff.training.metrics import Meter, MetricsLog
from jaxdiff.weights.checksums import checksums
from jaxdiff.weights.stored import read_item


class Position:
    """A data iterator's position, without data."""

    def __init__(self, batches=0):
        self.batches = batches

    def get_state(self):
        return {"batches": self.batches}

    def set_state(self, state):
        self.batches = state["batches"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints 1 and 2, with the state's shapes."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    params = {"kernel": jnp.arange(5000.0).reshape(50, 100), "bias": jnp.ones(7)}
    one = state.create(params, optax.adam(1e-3))
    checkpoints = Checkpoints(folder)
    for k in (1, 2):
        numbered = one.replace(step=jnp.asarray(k))
        checkpoints.save(numbered, Position(k), Meter().state(), {"field": 1})
    checkpoints.close()
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), one)
    return folder, abstract, params


def restore(folder, abstract):
    checkpoints, position = Checkpoints(folder), Position()
    try:
        return checkpoints.restore(abstract, position), position
    finally:
        checkpoints.close()


def test_the_newest_comes_back_whole(saved):
    folder, abstract, params = saved
    (found, meter), position = restore(folder, abstract)
    assert int(found.step) == position.batches == 2
    assert meter == Meter().state()
    np.testing.assert_array_equal(found.ema["kernel"], params["kernel"])


@pytest.mark.parametrize("damage", ["truncated", "emptied", "deleted"])
def test_a_damaged_file_means_the_checkpoint_before(saved, damage, tmp_path, caplog):
    """Every file of the newest in turn: either it did not matter, or checkpoint 1 is used whole.

    Fails if state, position and meter of different checkpoints could be mixed.
    """
    folder, abstract, params = saved
    newest = folder / "2"
    fallen_back = 0
    for file in sorted(f.relative_to(newest) for f in newest.rglob("*") if f.is_file()):
        copy = tmp_path / "run" / "checkpoints"
        shutil.rmtree(copy.parent, ignore_errors=True)
        shutil.copytree(folder, copy)
        target = copy / "2" / file
        match damage:
            case "truncated":
                target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
            case "emptied":
                target.write_bytes(b"")
            case "deleted":
                target.unlink()
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="jaxdiff"):
            (found, _), position = restore(copy, abstract)
        step = int(found.step)
        assert step == position.batches
        np.testing.assert_array_equal(found.params["kernel"], params["kernel"])
        if step == 1:
            fallen_back += 1
            assert "checkpoint 2 is damaged" in caplog.text
            assert (copy.parent / "damaged" / "2").is_dir()
    assert fallen_back >= 4


def test_a_reader_leaves_a_running_training_s_folder_alone(saved, tmp_path):
    """Fails if loading a run removes the checkpoint that is being written, or moves a bad one."""
    folder, abstract, params = saved
    copy = tmp_path / "run" / "checkpoints"
    shutil.copytree(folder, copy)
    (copy / "2" / "ema" / "_METADATA").write_text("{")
    half_written = copy / "3.orbax-checkpoint-tmp"
    shutil.copytree(copy / "1", half_written)
    average, step = read_item(copy, "ema", abstract.ema)
    assert step == 1
    np.testing.assert_array_equal(average["kernel"], params["kernel"])
    time.sleep(1.0)  # Orbax tidies up in the background
    assert half_written.exists()
    assert (copy / "2").is_dir()
    # A trainer tidies up.
    (copy / "2" / "params" / "_METADATA").write_text("{")
    restored, _ = restore(copy, abstract)
    assert int(restored[0].step) == 1
    start = time.monotonic()
    while half_written.exists() and time.monotonic() - start < 60:
        time.sleep(0.01)
    assert not half_written.exists()
    assert (copy.parent / "damaged" / "2").is_dir()


def test_the_average_alone_is_read(saved, tmp_path):
    """Fails if sampling needs anything of a checkpoint but its average, or mixes up models."""
    folder, abstract, params = saved
    copy = tmp_path / "checkpoints"
    shutil.copytree(folder, copy)
    for item in ("params", "opt_state", "progress", "data", "meter"):
        shutil.rmtree(copy / "2" / item)
    average, step = read_item(copy, "ema", {"kernel": abstract.ema["kernel"]})
    assert step == 2
    assert set(average) == {"kernel"}
    np.testing.assert_array_equal(average["kernel"], params["kernel"])
    assert read_item(copy, "ema", abstract.ema, step=1)[1] == 1
    with pytest.raises(ValueError, match=r"step=3: .* has checkpoints \[1, 2\]"):
        read_item(copy, "ema", abstract.ema, step=3)
    with pytest.raises(ValueError, match="has no 'other'"):
        read_item(copy, "ema", {"other": abstract.ema["bias"]})
    with pytest.raises(ValueError, match=r"'bias' has shape \(7,\), the model \(50, 100\)"):
        read_item(copy, "ema", {"bias": abstract.ema["kernel"]})


def test_nothing_readable_is_an_error_not_a_new_beginning(saved, tmp_path):
    """Fails if a run whose checkpoints are all damaged starts from scratch."""
    folder, abstract, _ = saved
    copy = tmp_path / "run" / "checkpoints"
    shutil.copytree(folder, copy)
    for file in copy.rglob("_METADATA"):
        file.write_text("{")
    with pytest.raises(ValueError, match=r"none of the checkpoints \[1, 2\]"):
        restore(copy, abstract)


def test_a_failed_write_names_the_folder_and_the_good_ones(saved, monkeypatch):
    """Fails if the disk's own words, or what is safe, go missing."""
    folder, _, params = saved
    checkpoints = Checkpoints(folder)

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", full)
    with pytest.raises(CheckpointError, match=r"No space left .*untouched: \[1, 2\]"):
        state_3 = state.create(params, optax.adam(1e-3)).replace(step=jnp.asarray(3))
        checkpoints.save(state_3, Position(3), Meter().state(), {})
    checkpoints.close()


def metrics(loss):
    levels = np.zeros(12)
    levels[3] = 1.0
    return {"loss": loss, "level_loss": loss * levels, "level_share": levels}


def test_a_meter_that_was_saved_goes_on_exactly():
    """Fails if sums lose digits on their way through JSON."""
    rng = np.random.default_rng(0)
    losses = rng.random(7)
    whole, first = Meter(), Meter()
    for loss in losses:
        whole.add(metrics(loss))
    for loss in losses[:3]:
        first.add(metrics(loss))
    second = Meter(json.loads(json.dumps(first.state())))
    for loss in losses[3:]:
        second.add(metrics(loss))
    means = whole.take()
    assert means == second.take()
    assert means["loss"] == pytest.approx(losses.mean())
    assert means["loss_by_logsnr"] == {"-5": pytest.approx(losses.mean())}


def test_a_resumed_run_takes_back_what_came_after_its_checkpoint(tmp_path):
    """Also a line that the crash cut short."""
    writer = MetricsLog(tmp_path, 0)
    for step in (1, 2, 3):
        writer.write(step, {"loss": 1.0})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    MetricsLog(tmp_path, 2).close()
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").open()]
    assert steps == [1, 2]


def run_copy(saved, tmp_path):
    copy = tmp_path / "run" / "checkpoints"
    shutil.copytree(saved[0], copy)
    return copy


def test_a_flipped_bit_is_found(saved, tmp_path, monkeypatch, caplog):
    """Fails if values are not compared with their checksums: a reader that changes one value."""
    _, abstract, params = saved
    copy = run_copy(saved, tmp_path)
    honest = ocp.PyTreeCheckpointer.restore

    def flipped(self, path, **options):
        tree = honest(self, path, **options)
        if path.parent.name == "2":
            bits = np.array(tree["kernel"]).view(np.uint32)
            bits[17, 3] ^= 1 << 22
            tree["kernel"] = bits.view(np.float32)
        return tree

    monkeypatch.setattr(ocp.PyTreeCheckpointer, "restore", flipped)
    average, step = read_item(copy, "ema", abstract.ema)
    assert step == 1
    np.testing.assert_array_equal(average["kernel"], params["kernel"])
    assert "the values of 'kernel' are not those that were written" in caplog.text


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool"])
def test_a_checksum_sees_each_bit_and_each_place(dtype):
    """Fails if bits or places are left out of the sum."""
    values = jax.random.bits(jax.random.key(0), (4, 6), jnp.uint8) % 2
    array = values.astype(dtype)
    whole = checksums({"a": array})["a"]
    assert checksums({"a": jnp.asarray(np.asarray(array))})["a"] == whole
    assert checksums({"a": array.T})["a"] != whole
    assert checksums({"a": array.at[2, 3].set((1 - values[2, 3]).astype(dtype))})["a"] != whole
    swapped = array.at[0].set(array[1]).at[1].set(array[0])
    assert checksums({"a": swapped})["a"] != whole


def test_files_that_the_disk_does_not_give_are_not_damaged(saved, tmp_path, monkeypatch):
    """Fails if a checkpoint is moved, or an older one taken, because of the disk."""
    _, abstract, _ = saved
    copy = run_copy(saved, tmp_path)

    def refused(self, step, abstract):
        raise ValueError("PERMISSION_DENIED: tensorstore's own words")

    def denied(self, *arguments):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "_restore", refused)
        patch.setattr(Path, "open", denied)
        with pytest.raises(PermissionError, match=r"Permission denied: .*checkpoints/2/"):
            restore(copy, abstract)
    assert sorted(p.name for p in copy.iterdir()) == ["1", "2"]
    assert not (copy.parent / "damaged").exists()


def test_checkpoints_of_another_width_stay(saved, tmp_path):
    """Fails if a model that does not fit counts as damage."""
    _, abstract, _ = saved
    copy = run_copy(saved, tmp_path)
    wider = jax.ShapeDtypeStruct((8,), np.float32, sharding=abstract.ema["bias"].sharding)
    other = abstract.replace(params={**abstract.params, "bias": wider})
    with pytest.raises(ValueError, match=r"'bias' has shape \(7,\), the model \(8,\)"):
        restore(copy, other)
    plain = abstract.replace(opt_state=optax.sgd(1e-3).init(abstract.params))
    with pytest.raises(ValueError, match=r"opt_state has '0/count' .* of another version"):
        restore(copy, plain)
    assert sorted(p.name for p in copy.iterdir()) == ["1", "2"]


def test_nothing_is_moved_before_another_checkpoint_is_read(saved, tmp_path):
    """Fails if damaged checkpoints are set aside when no older one is whole, or overwritten."""
    folder, abstract, _ = saved
    copy = run_copy(saved, tmp_path)
    for step in "12":
        (copy / step / "params" / "_METADATA").write_text("{")
    with pytest.raises(ValueError, match=r"none of the checkpoints \[1, 2\]"):
        restore(copy, abstract)
    assert sorted(p.name for p in copy.iterdir()) == ["1", "2"]
    shutil.copytree(folder / "1", copy / "1", dirs_exist_ok=True)
    (copy.parent / "damaged" / "2").mkdir(parents=True)
    restore(copy, abstract)
    assert sorted(p.name for p in (copy.parent / "damaged").iterdir()) == ["2", "2.1"]


def test_a_run_whose_checkpoints_are_gone_does_not_begin_again(saved, tmp_path):
    """One killed in its first write may; fails if a folder that a person put there is removed."""
    _, abstract, _ = saved
    copy = run_copy(saved, tmp_path)
    for step in "12":
        shutil.rmtree(copy / step)
    message = "has no checkpoint, but the run had some: put one back"
    with pytest.raises(ValueError, match=message):
        restore(copy, abstract)
    shutil.copytree(saved[0] / "2", copy / "2_kept")
    with pytest.raises(ValueError, match=message):
        restore(copy, abstract)
    assert (copy / "2_kept" / "params").is_dir()
    shutil.rmtree(copy / "2_kept")
    (copy / "3.orbax-checkpoint-tmp").mkdir()
    checkpoints = Checkpoints(copy)
    assert checkpoints.restore(abstract, Position()) is None
    checkpoints.close()
    assert not copy.exists()


@pytest.mark.slow
def test_no_flipped_bit_on_the_disk_goes_unnoticed(saved, tmp_path):
    """Bits of all files of the newest at random: its values are whole, or checkpoint 1 is used.

    Fails without checksums: some flips decode to other numbers.
    """
    folder, abstract, params = saved
    rng = np.random.default_rng(0)
    files = [f.relative_to(folder) for f in (folder / "2").rglob("*") if f.stat().st_size]
    files = [f for f in files if (folder / f).is_file()]
    for _ in range(60):
        copy = tmp_path / "run" / "checkpoints"
        shutil.rmtree(copy.parent, ignore_errors=True)
        shutil.copytree(folder, copy)
        target = copy / files[rng.integers(len(files))]
        content = bytearray(target.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        target.write_bytes(content)
        (found, _), position = restore(copy, abstract)
        assert int(found.step) == position.batches
        for tree in (found.params, found.ema):
            np.testing.assert_array_equal(tree["kernel"], params["kernel"])
            np.testing.assert_array_equal(tree["bias"], params["bias"])
