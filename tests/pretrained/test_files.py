"""Safetensors files: one, shards, half precision, and what is wrong with them."""

import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxdiff.pretrained import load, open_tensors, resolve, save
from jaxdiff.pretrained.rules import affine, within

TABLE = within("layer_{i}", "h.{i}", affine("dense", "fc"))
PARAMS = {
    f"layer_{i}": {
        "dense": {
            "kernel": i + np.arange(6, dtype=np.float32).reshape(2, 3),
            "bias": i + np.arange(3, dtype=np.float32),
        }
    }
    for i in range(2)
}


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.safetensors"
    save(TABLE, PARAMS, path)
    return path


def shards(folder):
    """Two files and their index, as transformers writes large models."""
    homes = {}
    for i in range(2):
        name = f"model-{i + 1:05}-of-00002.safetensors"
        dense = PARAMS[f"layer_{i}"]["dense"]
        tensors = {
            f"h.{i}.fc.weight": np.ascontiguousarray(dense["kernel"].T),
            f"h.{i}.fc.bias": dense["bias"],
        }
        save_file(tensors, folder / name)
        homes |= dict.fromkeys(tensors, name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    return index


def test_a_file_or_its_folder(file):
    """Catches a transposed array that is written in the order of its memory; a folder unread."""
    same(load(TABLE, file, PARAMS), PARAMS)
    same(load(TABLE, str(file.parent), PARAMS), PARAMS)


def test_shards(tmp_path):
    """Catches an index of which only the first file is read."""
    index = shards(tmp_path)
    same(load(TABLE, index, PARAMS), PARAMS)
    same(load(TABLE, tmp_path, PARAMS), PARAMS)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(tmp_path, dtype):
    """Catches bfloat16 that numpy does not know, and a type that is not the target's."""
    half = jax.tree.map(lambda x: x.astype(dtype), PARAMS)
    save(TABLE, half, tmp_path / "a.safetensors")
    assert np.asarray(open_tensors(tmp_path)["h.0.fc.bias"]).dtype == dtype
    whole = load(TABLE, tmp_path, PARAMS)
    assert {leaf.dtype for leaf in jax.tree.leaves(whole)} == {np.dtype("float32")}
    same(whole, PARAMS)


def test_tensors_are_read_one_at_a_time_and_only_if_all_fit(file, monkeypatch):
    """Catches numbers that are read before shapes and names are compared."""
    read = []
    stored = type(open_tensors(file)["h.0.fc.bias"])
    monkeypatch.setattr(stored, "__array__", lambda self, *_, **__: read.append(self.key))
    wide = jax.tree.map(lambda x: np.concatenate([x, x], -1), PARAMS)
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit") as error:
        load(TABLE, file, wide)
    assert "h.1.fc.weight is [3, 2], not [6, 2]" in str(error.value)
    assert read == []


def test_a_folder_with_several(file):
    """Catches a half-precision copy that is taken for the weights, and a choice made in silence."""
    (file.parent / "model.fp16.safetensors").write_bytes(b"")
    same(load(TABLE, file.parent, PARAMS), PARAMS)
    file.rename(file.parent / "other.safetensors")
    with pytest.raises(ValueError, match=r"several weight files; name one of: model\.fp16"):
        load(TABLE, file.parent, PARAMS)


def test_cut_off(file):
    """Catches a damaged file that is read in part, and one that is of another kind."""
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"model\.safetensors' is cut off"):
        open_tensors(file)
    file.write_text("a checkpoint by name only")
    with pytest.raises(ValueError, match="not a safetensors file"):
        open_tensors(file)


def test_shards_that_are_not_there(tmp_path):
    """Catches an index whose files are passed over."""
    index = shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"not there: .*model-00002-of-00002"):
        open_tensors(index)
    index.write_text(json.dumps({"weight_map": {"h.5.x": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(ValueError, match=r"1 keys are not in their shards, such as 'h\.5\.x'"):
        open_tensors(index)
    index.write_text("{}")
    with pytest.raises(ValueError, match="not an index of shards"):
        open_tensors(index)


def test_nothing_there(tmp_path, monkeypatch):
    """Catches a missing path that is first looked for on the network."""
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.bin' is a pickle.* Convert it .*\.safetensors"):
        open_tensors(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"no file or folder '/nowhere/model\.safetensors'$"):
        resolve("/nowhere/model.safetensors")
    with pytest.raises(ValueError, match="install huggingface_hub"):
        resolve("lab/model")


def test_the_hub_comes_second(file, monkeypatch):
    """Catches a hub that is asked although the files are here, and a folder of it that is lost."""
    asked = []

    def snapshot_download(repository, allow_patterns):
        asked.append((repository, allow_patterns[0]))
        return str(file.parent)

    hub = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert resolve(file) == file
    assert asked == []
    assert resolve("lab/model/text_encoder") == file.parent / "text_encoder"
    assert asked == [("lab/model", "text_encoder/*.safetensors")]
