"""Files of arrays, and mixtures of data sets: shares, captions, and parts that do not fit."""

import numpy as np
import pytest

from jaxdiff.data.sources import open_source


@pytest.fixture
def files(tmp_path):
    """Images whose value is their number: 6 of a thing, from 100 on, and 20 of a class."""
    pixels = lambda first, n: np.uint8(first + np.arange(n))[:, None, None, None]
    shape = (1, 4, 4, 3)
    np.save(tmp_path / "thing.npy", np.tile(pixels(100, 6), shape))
    np.savez(tmp_path / "class.npz", x=np.tile(pixels(0, 20), shape), text=np.repeat("a cat", 20))
    return tmp_path


def part(files, name, **options):
    return {"name": "array_file", "file": files / name, **options}


def test_a_file_of_arrays_is_read_by_splits(files, tmp_path):
    """Fails if an example is in two splits, fields change places, or floats become bytes."""
    source = lambda split: open_source("array_file", split, file=files / "class.npz")
    numbers = {s: [int(e["x"][0, 0, 0]) for e in source(s)] for s in ("train", "test", "all")}
    assert numbers["test"] == [9, 19]
    assert sorted(numbers["train"] + numbers["test"]) == numbers["all"] == list(range(20))
    assert (source("all").shape, source("all")[3]["text"]) == ((4, 4, 3), "a cat")
    np.save(tmp_path / "samples.npy", np.linspace(-1, 1, 8).reshape(4, 2))
    points = open_source("array_file", "all", file=tmp_path / "samples.npy")
    assert points[3]["x"].dtype == np.float32
    np.testing.assert_allclose(points[3]["x"], [0.714286, 1.0], rtol=1e-5)


def test_a_mixture_has_the_shares_and_captions_of_its_parts(files):
    """Fails if a part is skipped, its examples are drawn unevenly, or captions change places."""
    of = [part(files, "thing.npy", text="a blorb"), part(files, "class.npz")]
    mixed = open_source("mixture", "all", of=of, shares=(1, 2))
    assert (mixed.shape, len(mixed)) == ((4, 4, 3), 30)
    found = [(int(e["x"][0, 0, 0]), str(e["text"])) for e in mixed]
    assert found[:4] == [(100, "a blorb"), (0, "a cat"), (1, "a cat"), (101, "a blorb")]
    things = [number for number, text in found if text == "a blorb"]
    assert np.bincount(things)[100:].tolist() == [2, 2, 2, 2, 1, 1]
    assert sorted(number for number, text in found if text == "a cat") == list(range(20))


def test_files_and_parts_that_do_not_fit_are_named(files, tmp_path):
    """Fails if a mixture of other channels fails when a batch is stacked."""
    np.save(tmp_path / "grey.npy", np.zeros((5, 4, 4, 1), np.uint8))
    np.save(tmp_path / "counts.npy", np.zeros((5, 4), np.int64))
    (tmp_path / "text.npy").write_text("no array")
    np.savez(tmp_path / "odd.npz", x=np.zeros((5, 4), np.uint8), text=np.repeat("a", 4))
    mixture = lambda **options: open_source("mixture", "all", **options)
    for call, message in (
        (lambda: mixture(of=[part(files, "thing.npy"), part(tmp_path, "grey.npy")]), "shapes"),
        (lambda: mixture(of=[part(files, "thing.npy")], shares=(1, 2)), r"of 1 data sets"),
        (lambda: mixture(of=[{"file": "a"}]), r"of\[0\].*has no name"),
        (lambda: mixture(of=[part(tmp_path, "counts.npy")]), "type int64"),
        (lambda: mixture(of=[part(tmp_path, "text.npy")]), "holds no arrays of numbers"),
        (lambda: mixture(of=[part(tmp_path, "odd.npz")]), "several lengths"),
        (lambda: open_source("array_file", "val", file=files / "thing.npy"), "unknown split"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        mixture(of=[part(files, "nowhere.npy")])
