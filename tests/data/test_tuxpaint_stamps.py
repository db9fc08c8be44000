"""Stamps of a folder that looks like Tux Paint's."""

import pytest
from PIL import Image

from jaxdiff.data.sources import open_source

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="20pt" height="10pt" viewBox="0 0 20 10">'
    '<rect width="20" height="10" fill="#ff0000"/></svg>'
)


def test_stamps_have_captions_sounds_and_fit_into_a_square(tmp_path):
    """Fails if a mirror image without caption counts, a translation is read, or shape is lost."""
    folder = tmp_path / "stamps"
    (folder / "animals" / "cats").mkdir(parents=True)
    (folder / "food").mkdir()
    tall = Image.new("RGBA", (10, 40), (0, 0, 255, 255))
    tall.save(folder / "animals" / "cats" / "lion.png")
    tall.save(folder / "animals" / "cats" / "lion_mirror.png")
    (folder / "animals" / "cats" / "lion.txt").write_text("A lion.\nde.utf8=Löwe.\n")
    (folder / "animals" / "cats" / "lion.ogg").write_bytes(b"roar")
    (folder / "food" / "pie.svg").write_text(SVG)
    (folder / "food" / "pie.txt").write_text("A pie.\n")
    for i in range(30):
        (folder / "food" / f"{i}.svg").write_text(SVG)
        (folder / "food" / f"{i}.txt").write_text(f"Number {i}.\n")
    found = []
    for split in ("train", "test"):
        options = {"folder": folder, "size": 16, "fields": ("text", "sound")}
        source = open_source("tuxpaint_stamps", split, data_dir=tmp_path / "tfds", **options)
        found += [source[i] for i in range(len(source))]
    by_text = {each["text"]: each for each in found}
    assert set(by_text) == {"A lion", "A pie", *(f"Number {i}" for i in range(30))}
    lion, pie = by_text["A lion"], by_text["A pie"]
    assert lion["sound"] == "animals/cats/lion.ogg"
    assert pie["sound"] == ""
    assert (source.class_names[lion["label"]], source.class_names[pie["label"]]) == (
        "animals",
        "food",
    )
    assert lion["x"][8, 8].tolist() == [0, 0, 255]
    assert lion["x"][8, 0].tolist() == [255, 255, 255]
    assert pie["x"][8, 8].tolist() == [255, 0, 0]
    assert pie["x"][0, 8].tolist() == [255, 255, 255]
    assert "GPL-2" in source.attribution


def test_a_folder_without_stamps_says_where_they_come_from(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no stamps; install Debian's tuxpaint-stamps"):
        open_source("tuxpaint_stamps", "train", folder=tmp_path)
