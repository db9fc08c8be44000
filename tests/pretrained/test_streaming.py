"""Weights go from the file to the devices without a second copy of the whole on the host."""

import json
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.pretrained import load, open_tensors
from jaxdiff.pretrained.rules import affine

COLUMNS = 4096


def anonymous():
    """Returns the bytes of this process's memory that no file backs."""
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("kind", "count", "rows"), [("bfloat16", 6, 2048), ("float32", 6, 2048), ("bfloat16", 40, 8192)]
)
def test_the_peak_beside_the_devices_is_one_tensor(kind, count, rows, tmp_path):
    """Fails if a tensor is copied twice on its way, or a second is read before one is placed.

    The largest file is of 5.4 GB.
    """
    largest = 4 * rows * COLUMNS
    file, header = tmp_path / "sparse.safetensors", {}
    for i in range(count):
        ends = [i * largest, (i + 1) * largest]
        header[f"w.{i}.weight"] = {"dtype": "F32", "shape": [rows, COLUMNS], "data_offsets": ends}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + count * largest)
    shape = jax.ShapeDtypeStruct((COLUMNS, rows), jnp.dtype(kind))
    jax.block_until_ready(jnp.zeros(8))
    first, peak, done = anonymous(), [0], threading.Event()

    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    found = load(
        affine("w_{i}", "w.{i}"), file, {f"w_{i}": {"kernel": shape} for i in range(count)}
    )
    jax.block_until_ready(found)
    done.set()
    watcher.join()
    file.unlink()
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(found))
    beside = peak[0] - first - held
    print(f"{count} as {kind}: {beside / 1e6:.0f} MB beside {held / 1e9:.1f} GB")
    assert beside < 1.2 * largest


def test_types_of_arrays_in_files(tmp_path):
    """Fails if a type is read as another, or a scalar, an empty array or a bfloat16 is not."""
    from safetensors.numpy import save_file  # noqa: PLC0415 - of the extra `pretrained`

    tensors = {
        "half": np.array([1.5, -2.0], np.float16), "whole": np.array([[3, -4]], np.int64),
        "yes": np.array([True, False]), "one": np.array(2.5, np.float32),
        "none": np.zeros((0, 3), np.float32), "brain": np.array([0.5, 3], np.dtype("bfloat16")),
    }  # fmt: skip
    save_file(tensors, tmp_path / "a.safetensors")
    found = open_tensors(tmp_path / "a.safetensors")
    for key, value in tensors.items():
        assert found[key].shape == value.shape
        assert np.asarray(found[key]).dtype == value.dtype
        np.testing.assert_array_equal(np.asarray(found[key]), value)
