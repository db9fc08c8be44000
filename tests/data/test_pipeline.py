"""Order, position and parts of batches; each test says what would break it."""

import json
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import grain.checkpoint
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxdiff.data.pipeline import loader, output_shape


class Numbered:
    """Images [4, 4, 1] whose pixels tell their record and their column."""

    shape = (4, 4, 1)
    num_classes = None
    class_names = None

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        columns = np.broadcast_to(np.arange(4)[None, :, None], self.shape)
        return {"x": (10 * index + columns).astype(np.uint8)}


class Lying(Numbered):
    def __init__(self, size):
        super().__init__(size)
        self.shape = (4, 5, 1)

    def __getitem__(self, index):
        return {"x": np.zeros((4, 4, 1), np.uint8)}


def take(batches, count):
    return list(islice(batches, count))


def records(batches):
    return np.concatenate([batch["record"] for batch in batches])


def same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_a_batch_is_float32_in_the_unit_range_with_labels(digits):
    """Catches a scaling by 128 or 255, and labels or records of another type."""
    batch = next(loader(digits["train"], batch_size=32, seed=0))
    assert {k: (v.shape, v.dtype.name) for k, v in batch.items()} == {
        "x": ((32, 8, 8, 1), "float32"),
        "label": ((32,), "int32"),
        "record": ((32,), "int64"),
        "position": ((32,), "int32"),
    }
    pixels = np.stack([digits["train"][i]["x"] for i in batch["record"]]).astype(float)
    np.testing.assert_allclose(batch["x"], 2 * pixels / 255 - 1, atol=1e-6)
    assert batch["x"].min() == -1 and batch["x"].max() == 1
    assert [digits["train"][i]["label"] for i in batch["record"]] == batch["label"].tolist()


def test_each_epoch_is_another_permutation_of_all():
    """Catches an order that forgets the epoch or the seed, or draws with replacement."""
    orders = {
        seed: records(loader(Numbered(20), batch_size=5, seed=seed, epochs=3)).reshape(3, 20)
        for seed in (0, 1)
    }
    epochs = np.concatenate(list(orders.values()))
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(20), (6, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_without_shuffling_the_order_is_the_sources():
    order = records(loader(Numbered(6), batch_size=4, seed=0, shuffle=False, epochs=2))
    assert order.tolist() == [*range(6), *range(6)]


def test_the_last_batch_is_kept_dropped_or_filled_from_the_next_epoch():
    """Catches batches that end with an epoch in an endless stream."""
    sizes = lambda **options: [
        len(batch["record"])
        for batch in take(loader(Numbered(10), batch_size=4, seed=0, **options), 6)
    ]
    assert sizes(epochs=1) == [4, 4, 2]
    assert sizes(epochs=1, drop_remainder=True) == [4, 4]
    assert sizes() == [4] * 6
    assert sizes(epochs=2) == [4] * 5
    order = records(take(loader(Numbered(10), batch_size=4, seed=0), 5)).reshape(2, 10)
    np.testing.assert_array_equal(np.sort(order), np.tile(np.arange(10), (2, 1)))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("epochs", [None, 1])
def test_any_number_of_processes_reads_the_same_global_batches(count, epochs):
    """Catches shards of the data set in place of parts of the batch, and augmentation by process.

    22 examples leave a last batch of 6, of which the last of four processes has none.
    """
    options = dict(batch_size=8, seed=3, epochs=epochs, transforms=["RandomFlip"])
    whole = take(loader(Numbered(22), **options), 5)
    parts = [
        take(loader(Numbered(22), process_index=i, process_count=count, **options), 5)
        for i in range(count)
    ]
    joined = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]
    same(joined, whole)
    assert len(parts[-1][0]["x"]) == 8 // count


def test_the_position_goes_through_json_to_any_number_of_processes():
    """Catches a position that counts examples or batches of one process, or what is read ahead."""
    options = dict(batch_size=4, seed=1, transforms=["RandomCrop(size=3)"])
    one = loader(Numbered(10), **options)
    take(one, 3)
    state = json.loads(json.dumps(one.get_state()).encode())
    rest = take(one, 5)
    halves = [loader(Numbered(10), process_index=i, process_count=2, **options) for i in (0, 1)]
    for half in halves:
        next(half)
        half.set_state(state)
    steps = zip(*[take(half, 5) for half in halves], strict=True)
    same([{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in steps], rest)
    assert one.get_state() == halves[0].get_state() == {"batches": 8}


def test_a_finished_stream_stays_finished_after_a_restore():
    one = loader(Numbered(8), batch_size=4, seed=0, epochs=1)
    assert len(list(one)) == 2
    again = loader(Numbered(8), batch_size=4, seed=0, epochs=1)
    again.set_state(one.get_state())
    assert list(again) == []


@pytest.mark.parametrize("state", [{}, {"batches": -1}, {"batches": "3"}, {"next_index": 3}])
def test_what_is_no_position_is_refused(state):
    with pytest.raises(ValueError, match="no position"):
        loader(Numbered(8), batch_size=4, seed=0).set_state(state)


def test_the_position_lies_beside_the_state_in_an_orbax_checkpoint(tmp_path):
    """Catches an iterator that grain's handler takes for its own old kind."""
    options = dict(batch_size=4, seed=2)
    one = loader(Numbered(10), **options)
    take(one, 3)
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        save = grain.checkpoint.CheckpointSave(one)
        manager.save(3, args=ocp.args.Composite(data=save, state=ocp.args.JsonSave({"step": 3})))
        manager.wait_until_finished()
        rest = take(one, 4)
        two = loader(Numbered(10), **options)
        restore = grain.checkpoint.CheckpointRestore(two)
        manager.restore(3, args=ocp.args.Composite(data=restore))
    same(take(two, 4), rest)


def test_augmentation_belongs_to_the_position_not_to_the_batch():
    """Catches draws from one generator that runs through the batches."""
    flips = {}
    for size in (2, 4):
        batches = take(loader(Numbered(8), batch_size=size, seed=5, transforms=["RandomFlip"]), 16)
        x = np.concatenate([batch["x"] for batch in batches])[:32]
        flips[size] = x[:, 0, 0, 0] > x[:, 0, -1, 0]
    np.testing.assert_array_equal(flips[2], flips[4])
    assert 8 < flips[2].sum() < 24
    assert (flips[2][:8] != flips[2][8:16]).any()


def test_worker_processes_read_the_same(digits):
    """Catches a source or a transform that does not reach another process, and a lost order."""
    options = dict(batch_size=300, seed=0, epochs=1, transforms=["RandomFlip"])
    here = loader(digits["test"], **options)
    there = loader(digits["test"], workers=2, **options)
    there.set_state({"batches": 1})
    next(here)
    same(take(there, 3), take(here, 3))
    there.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=6, process_count=4), "batch_size=6 .* process_count=4"),
        (dict(batch_size=0), "batch_size=0"),
        (dict(process_index=2, process_count=2), r"process_index=2: must be in 0\.\.1"),
        (dict(seed=-1), "seed=-1"),
        (dict(epochs=0), "epochs=0"),
        (dict(transforms=["CenterCrop(size=5)"]), r"CenterCrop\(size=5\).*4x4"),
        (dict(transforms=["CentreCrop(size=2)"]), "CentreCrop"),
    ],
)
def test_bad_options_are_named_before_anything_is_read(options, message):
    with pytest.raises(ValueError, match=message):
        loader(Numbered(8), **{"batch_size": 4, "seed": 0, **options})


def test_the_shape_after_transforms_is_known_before_and_held_to():
    source = Numbered(3)
    assert output_shape(source, []) == (4, 4, 1)
    assert output_shape(source, ["CenterCrop(size=2)"]) == (2, 2, 1)
    source.shape = (None, None, 1)
    with pytest.raises(ValueError, match="CenterCrop"):
        loader(source, batch_size=1, seed=0, transforms=["Resize(size=4)"])
    with pytest.raises(ValueError, match=r"not \(4, 5, 1\)"):
        next(loader(Lying(3), batch_size=1, seed=0))


ORPHANS = """
import glob, os, signal
from jaxdiff.data.pipeline import loader
from jaxdiff.data.sources import open_source
batches = loader(open_source("digits", "test"), batch_size=10, seed=0, workers=1)
next(batches)
mine = f"\\nPPid:\\t{os.getpid()}\\n"
status = {path.split("/")[2]: open(path).read() for path in glob.glob("/proc/[0-9]*/status")}
print(*(process for process, text in status.items() if mine in text), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_trainer(tmp_path):
    """Fails without `_end_with_parent`."""
    out = tmp_path / "out"  # not a pipe, which an orphan would keep open
    with out.open("w") as file:
        done = subprocess.run([sys.executable, "-c", ORPHANS], stdout=file, check=False)
    assert done.returncode == -signal.SIGKILL
    children = [int(number) for number in out.read_text().splitlines()[-1].split()]
    assert children
    start = time.monotonic()
    while any(map(alive, children)) and time.monotonic() - start < 60:
        time.sleep(0.1)
    assert not any(map(alive, children))


def alive(process):
    status = Path(f"/proc/{process}/status")
    return status.exists() and "\nState:\tZ" not in status.read_text()
