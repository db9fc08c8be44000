"""Digits, IDX files, image folders and names."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxdiff.data.datasets.fashion_mnist_idx import FashionMnistIdx, read_idx
from jaxdiff.data.pipeline import loader
from jaxdiff.data.sources import open_source


def test_nothing_imports_tensorflow_or_torch(data_dir, digits):
    """Also not while a prepared data set is read."""
    code = (
        "import sys\n"
        "from jaxdiff.data import pipeline, sources, transforms, toy, image_folder\n"
        f"source = sources.open_source('digits', 'test', data_dir={str(data_dir)!r})\n"
        "next(pipeline.loader(source, batch_size=2, seed=0))\n"
        "print(sorted({'tensorflow', 'torch', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip().endswith("[]")


def test_digits_are_sklearns_pixel_by_pixel_and_split_evenly(digits):
    """Catches levels that fall together, examples lost or in both splits, and a skewed split."""
    truth = load_digits()
    found = []
    for split in digits.values():
        assert split.shape == (8, 8, 1) and split.num_classes == 10
        found += [(*np.round(e["x"] * (16 / 255)).astype(int).ravel(), e["label"]) for e in split]
    want = [
        (*pixels.astype(int), label) for pixels, label in zip(truth.data, truth.target, strict=True)
    ]
    assert sorted(found) == sorted(want)
    counts = [np.bincount([e["label"] for e in split]) for split in digits.values()]
    np.testing.assert_array_equal(counts[1], np.bincount(truth.target) // 5)
    assert {int(v) for e in digits["test"] for v in np.unique(e["x"])} == {
        round(level * 255 / 16) for level in range(17)
    }


def test_splits_and_slices(data_dir):
    assert len(open_source("digits", "train[:10%]", data_dir=data_dir)) == 144
    with pytest.raises(ValueError, match=r"digits: .*'trian'.*train.*train\[:10%\]"):
        open_source("digits", "trian", data_dir=data_dir)
    with pytest.raises(ValueError, match=r"digits: .*'fodler'"):
        open_source("digits", "train", data_dir=data_dir, fodler="here")


def test_unknown_names_get_the_closest_and_the_local_ones():
    with pytest.raises(ValueError, match=r"did you mean 'digits'.*fashion_mnist_idx.*two_moons"):
        open_source("digist", "train")
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        open_source("cifra10", "train")


def test_two_processes_may_prepare_at_once(tmp_path):
    """Without a lock the second finds the folder of the first in its way."""
    code = (
        "from jaxdiff.data.sources import open_source\n"
        f"print(len(open_source('digits', 'test', data_dir={str(tmp_path)!r})))"
    )
    start = lambda: subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for process in [start(), start()]:
        output, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors
        assert output.splitlines()[-1] == "355"


def write_idx(path, array):
    sizes = b"".join(side.to_bytes(4, "big") for side in array.shape)
    data = bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def idx_folder(tmp_path):
    """Five training and three test images, the test files gzipped."""
    random = np.random.default_rng(0)
    for prefix, end, size in (("train", "", 5), ("t10k", ".gz", 3)):
        images = random.integers(0, 256, (size, 28, 28))
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte{end}", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte{end}", np.arange(size))
    return tmp_path


def test_idx_files_give_their_pixels_in_order(idx_folder, tmp_path):
    options = dict(folder=idx_folder, data_dir=tmp_path / "tfds")
    for split, file in (
        ("train", "train-images-idx3-ubyte"),
        ("test", "t10k-images-idx3-ubyte.gz"),
    ):
        source = open_source("fashion_mnist_idx", split, **options)
        np.testing.assert_array_equal([e["x"][..., 0] for e in source], read_idx(idx_folder / file))
        assert [e["label"] for e in source] == list(range(len(source)))
    assert source.class_names[9] == "Ankle boot"


def test_other_files_are_another_data_set(idx_folder, tmp_path):
    """Catches what was prepared from one folder being read for another."""
    first = open_source("fashion_mnist_idx", "train", folder=idx_folder, data_dir=tmp_path / "tfds")
    write_idx(idx_folder / "train-labels-idx1-ubyte", np.array([9, 8, 7, 6, 5]))
    second = open_source(
        "fashion_mnist_idx", "train", folder=idx_folder, data_dir=tmp_path / "tfds"
    )
    assert [e["label"] for e in first] != [e["label"] for e in second] == [9, 8, 7, 6, 5]


def test_damaged_idx_files_are_named(idx_folder, tmp_path):
    images, packed = (
        idx_folder / "train-images-idx3-ubyte",
        idx_folder / "t10k-labels-idx1-ubyte.gz",
    )
    whole = images.read_bytes()
    for damaged, message in (
        (whole[:-1], r"3935 bytes where its header \(5, 28, 28\) needs 3936"),
        (whole[:7], "an IDX file of bytes"),
        (b"", "an IDX file of bytes"),
        (b"\x89PNG" + whole, "an IDX file of bytes"),
    ):
        images.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"train-images-idx3-ubyte: .*{message}"):
            read_idx(images)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte"):
        open_source("fashion_mnist_idx", "train", folder=idx_folder, data_dir=tmp_path / "tfds")
    images.write_bytes(whole)
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz: damaged gzip"):
        read_idx(packed)
    write_idx(idx_folder / "train-labels-idx1-ubyte", np.arange(4))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte: .*needs 5 labels"):
        open_source("fashion_mnist_idx", "train", folder=idx_folder, data_dir=tmp_path / "tfds")


def test_a_missing_idx_file_is_named(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte: .*dataset-fashion-mnist"):
        FashionMnistIdx(folder=idx_folder)


def save(path, color=(10, 20, 30), size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_image_folder_names_classes_by_subfolders(tmp_path):
    save(tmp_path / "dog" / "a.png", (1, 2, 3))
    save(tmp_path / "cat" / "deep" / "b.png", (4, 5, 6), size=(4, 9))
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    source = open_source("image_folder", "all", folder=tmp_path)
    assert source.class_names == ("cat", "dog") and source.shape == (None, None, 3)
    assert [e["label"] for e in source] == [0, 1]
    assert [e["x"].shape for e in source] == [(9, 4, 3), (5, 6, 3)]
    assert source[1]["x"][0, 0].tolist() == [1, 2, 3]
    transforms = ["Resize(size=4)", "CenterCrop(size=4)"]
    (batch,) = loader(source, batch_size=2, seed=0, epochs=1, transforms=transforms)
    assert batch["x"].shape == (2, 4, 4, 3)


def test_image_folder_without_subfolders_has_no_labels(tmp_path):
    save(tmp_path / "a.png")
    source = open_source("image_folder", "all", folder=tmp_path, channels=1)
    assert source.num_classes is None and "label" not in source[0]
    assert source[0]["x"].shape == (5, 6, 1)


def test_image_folder_has_captions_beside_the_images(tmp_path):
    """Catches another image's caption, and an image without one that is found in mid-training."""
    for name in ("a.png", "b.jpg"):
        save(tmp_path / name)
        (tmp_path / name).with_suffix(".txt").write_text(f"a picture of {name[0]}\n")
    source = open_source("image_folder", "all", folder=tmp_path, captions=True)
    assert [example["text"] for example in source] == ["a picture of a", "a picture of b"]
    options = {"transforms": ["ResizeCrop(size=4)"], "prepare": lambda b: b | {"n": len(b["text"])}}
    batch = next(loader(source, batch_size=2, seed=0, shuffle=False, **options))
    assert batch["text"].tolist() == ["a picture of a", "a picture of b"] and batch["n"] == 2
    (tmp_path / "b.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 images have none, such as .*b\.jpg"):
        open_source("image_folder", "all", folder=tmp_path, captions=True)


def test_image_folder_splits_by_subfolder_with_the_same_classes(tmp_path):
    """Catches class numbers counted in one split: "b" would be 0 in test."""
    for name in ("train/a/1.png", "train/b/2.png", "test/b/3.png"):
        save(tmp_path / name)
    test = open_source("image_folder", "test", folder=tmp_path)
    assert len(test) == 1 and test[0]["label"] == 1 and test.num_classes == 2
    with pytest.raises(ValueError, match="unknown split 'val'; known: test, train"):
        open_source("image_folder", "val", folder=tmp_path)


def test_image_folder_splits_by_name_for_good(tmp_path):
    """Catches a split by position, which a new file would shift."""
    parts = lambda: [
        {str(f) for f in open_source("image_folder", s, folder=tmp_path, test_fraction=0.3).files}
        for s in ("train", "test", "all")
    ]
    for i in range(40):
        save(tmp_path / f"{i:02}.png")
    train, test, everything = parts()
    assert not train & test and train | test == everything and 4 <= len(test) <= 20
    save(tmp_path / "00a.png")
    assert parts()[1] - {"00a.png"} == test


def test_image_folder_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_source("image_folder", "all", folder=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"image_folder: .*'folder'"):
        open_source("image_folder", "all")
    with pytest.raises(ValueError, match="no images in split 'all'"):
        open_source("image_folder", "all", folder=tmp_path)
    save(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "b.png").write_bytes((tmp_path / "cat" / "a.png").read_bytes()[:50])
    with pytest.raises(ValueError, match=r"b\.png: not a readable image"):
        open_source("image_folder", "all", folder=tmp_path)[1]
    save(tmp_path / "loose.png")
    with pytest.raises(ValueError, match=r"loose\.png: lies beside class folders \(cat\)"):
        open_source("image_folder", "all", folder=tmp_path)


def test_a_source_of_ones_own_is_named_by_module(data_dir, digits):
    assert len(open_source("jaxdiff.data.sources:Toy", "test", density="rings", size=3)) == 3
    builder = "jaxdiff.data.datasets.digits:Digits"
    assert len(open_source(builder, "test", data_dir=data_dir)) == len(digits["test"])


@pytest.mark.parametrize("name", ["nowhere.at_all:clips", "jaxdiff.data.sources:Nothing"])
def test_a_source_that_cannot_be_imported_is_named(name):
    """Fails if the user sees an ImportError that does not name the field."""
    with pytest.raises(ValueError, match=rf"data\.name='{name}': .*module:function"):
        open_source(name, "train")
