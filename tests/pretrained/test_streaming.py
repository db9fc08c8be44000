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

COUNT, ROWS, COLUMNS = 6, 2048, 4096
LARGEST = 4 * ROWS * COLUMNS


def anonymous():
    """Returns the bytes of this process's memory that no file backs."""
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
def test_the_peak_beside_the_devices_is_one_tensor(kind, tmp_path):
    """Fails if a tensor is copied twice on its way, or a second is read before one is placed."""
    file, header = tmp_path / "sparse.safetensors", {}
    for i in range(COUNT):
        ends = [i * LARGEST, (i + 1) * LARGEST]
        header[f"w.{i}.weight"] = {"dtype": "F32", "shape": [ROWS, COLUMNS], "data_offsets": ends}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + COUNT * LARGEST)
    shape = jax.ShapeDtypeStruct((COLUMNS, ROWS), jnp.dtype(kind))
    jax.block_until_ready(jnp.zeros(8))
    first, peak, done = anonymous(), [0], threading.Event()

    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    found = load(
        affine("w_{i}", "w.{i}"), file, {f"w_{i}": {"kernel": shape} for i in range(COUNT)}
    )
    jax.block_until_ready(found)
    done.set()
    watcher.join()
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(found))
    assert peak[0] - first < held + 1.2 * LARGEST


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
