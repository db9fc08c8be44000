"""Files of PyTorch: their tensors are read, and nothing that they name is run."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxdiff.pretrained import open_tensors
from jaxdiff.pretrained.pickled import read_pickled


class FakeStorage:
    """A storage of a file, as its pickle names it: ('storage', type, key, device, count)."""

    def __init__(self, kind: str, key: str, count: int):
        self.pid = ("storage", Named("torch", kind), key, "cpu", count)


class Named:
    """A global of a module that is not there."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Call:
    """The call of a global."""

    def __init__(self, function: Named, *args: object):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class Writer(pickle._Pickler):  # type: ignore - in Python, so that globals can be written by name
    """Writes what PyTorch writes, without PyTorch."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, FakeStorage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Named):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
            return None
        if isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(b"R")
            return None
        return super().save(obj, save_persistent_id)


def tensor(key, count, offset, shape, steps, kind="FloatStorage"):
    storage = FakeStorage(kind, key, count)
    return Call(Named("torch._utils", "_rebuild_tensor_v2"), storage, offset, shape, steps, False)


def write(file: Path, content: object, **storages: np.ndarray) -> Path:
    """Writes an archive as `torch.save` does."""
    stream = io.BytesIO()
    Writer(stream, 2).dump(content)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", stream.getvalue())
        for key, values in storages.items():
            archive.writestr(f"model/data/{key}", values.tobytes())
    return file


NUMBERS = np.arange(12, dtype=np.float32)
WHOLE, TURNED = tensor("s", 12, 0, (3, 4), (4, 1)), tensor("s", 12, 2, (2, 3), (1, 4))


def test_views_of_a_storage(tmp_path):
    file = write(tmp_path / "a.pt", {"w": WHOLE, "t": TURNED, "step": 3}, s=NUMBERS)
    found = read_pickled(file)
    assert set(found) == {"w", "t"}
    np.testing.assert_array_equal(found["w"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(found["t"], NUMBERS.reshape(3, 4)[:, 2:].T)


def test_a_table_in_a_file_is_named(tmp_path):
    tables = {"ema": {"w": WHOLE}, "model": {"w": TURNED}, "epoch": 7}
    file = write(tmp_path / "a.ckpt", tables, s=NUMBERS)
    np.testing.assert_array_equal(read_pickled(file, "ema")["w"], NUMBERS.reshape(3, 4))
    with pytest.raises(ValueError, match="several tables: name one of ema, model"):
        read_pickled(file)
    with pytest.raises(ValueError, match="no table 'optimizer' of tensors; it has: ema, model"):
        read_pickled(file, "optimizer")
    file = write(tmp_path / "b.ckpt", {"state_dict": {"w": WHOLE}, "epoch": 7}, s=NUMBERS)
    assert set(read_pickled(file)) == {"w"}


@pytest.mark.parametrize("module", ["os", "posix", "builtins", "nt"])
def test_nothing_that_a_file_names_is_run(module, tmp_path):
    """Fails if a global of a pickle is looked up: the call would make a file."""
    made, name = tmp_path / "made", "exec" if module == "builtins" else "system"
    order = f"open({str(made)!r}, 'w')" if module == "builtins" else f"touch {made}"
    content = {"w": WHOLE, "x": Call(Named(module, name), order)}
    found = read_pickled(write(tmp_path / "a.pt", content, s=NUMBERS))
    assert set(found) == {"w"}
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": tensor("s", 12, 10, (3,), (1,))}, "goes beyond 'model/data/s'"),
        ({"w": tensor("s", 12, 0, (3, 4), (-4, 1))}, "goes beyond"),
        ({"w": tensor("s", 12, 0, (3,), (1,), "QuantizedStorage")}, "unknown type"),
        ({"w": 1.0}, "no tensors by key"),
        ([1, 2], "no tensors by key"),
    ],
)
def test_files_that_cannot_be_read(content, message, tmp_path):
    file = write(tmp_path / "a.pt", content, s=NUMBERS)
    with pytest.raises(ValueError, match=message):
        {key: np.asarray(value) for key, value in read_pickled(file).items()}


def test_damaged_files(tmp_path):
    whole = write(tmp_path / "a.pt", {"w": WHOLE}, s=NUMBERS).read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "b.pt").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut off, or of PyTorch before"):
            read_pickled(tmp_path / "b.pt")
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}q\x00X\x01")
    with pytest.raises(ValueError, match="cannot be read"):
        read_pickled(tmp_path / "c.pt")


def test_the_script(scripts, tmp_path):
    pytest.importorskip("safetensors")
    half = NUMBERS.astype(np.float16)
    content = {"w": WHOLE, "h": tensor("h", 12, 0, (12,), (1,), "HalfStorage")}
    file = write(tmp_path / "a.pt", content, s=NUMBERS, h=half)
    code, shown = scripts("experiments/convert.py", f"--file={file}", "--dtype=bfloat16")
    assert code == 0, shown
    assert "a.safetensors: 2 tensors" in shown
    found = open_tensors(tmp_path / "a.safetensors")
    assert {one.kind for one in found.values()} == {"BF16"}
    np.testing.assert_array_equal(np.asarray(found["h"], np.float32), NUMBERS)


@pytest.mark.parity
def test_torch_writes_such_files(tmp_path):
    torch = pytest.importorskip("torch")
    w = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    kinds = {"b": torch.bfloat16, "h": torch.float16, "i": torch.int64, "o": torch.bool}
    tensors = {"w": w, "t": w.permute(2, 0, 1)[1:], "p": torch.nn.Parameter(w), "n": w[:0]}
    tensors |= {name: w.to(kind) for name, kind in kinds.items()}
    torch.save({"ema": tensors, "args": object, "opt": {"lr": 0.1}}, tmp_path / "a.pt")
    found = read_pickled(tmp_path / "a.pt")
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        array = np.asarray(found[name])
        np.testing.assert_array_equal(array.astype(np.float32), value.detach().float().numpy())
