"""Clips of a folder: windows in time, every kind of file, what cannot be used."""

import logging

import numpy as np
import pytest
from PIL import Image

from jaxdiff.data.pipeline import loader, output_shape
from jaxdiff.data.sources import open_source

GREYS = np.arange(12) * 20
"""The grey level of each frame: it says which frame it is."""


def pictures(levels=GREYS, size=(24, 16)):
    return [Image.new("RGB", size, (int(level),) * 3) for level in levels]


def save_animation(path, levels=GREYS, duration=100):
    first, *rest = pictures(levels)
    first.save(path, save_all=True, append_images=rest, duration=duration, lossless=True)


def save_video(path, levels=GREYS, rate=10):
    import av  # noqa: PLC0415

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 24, 16, "yuv420p"
        stream.gop_size = 4  # key frames in the middle, which seeking finds
        for picture in pictures(levels):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def save_frames(path, levels=GREYS):
    path.mkdir()
    for i, picture in enumerate(pictures(levels)):
        picture.save(path / f"{i:03d}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    (folder / "below").mkdir()
    save_animation(folder / "a.gif")
    save_animation(folder / "below" / "b.webp")
    save_frames(folder / "c")
    save_video(folder / "d.mp4")
    for name in ("a", "below/b", "c", "d"):
        (folder / f"{name}.txt").write_text(f"clip {name[-1]}\n")
    return folder


def frames_of(x):
    """The frames' numbers, read from their grey levels."""
    levels = x.astype(float).mean((1, 2, 3))
    found = np.abs(levels[:, None] - GREYS).argmin(1)
    assert np.abs(levels - GREYS[found]).max() < 8
    return found.tolist()


def test_every_kind_of_clip_is_read_frame_by_frame(folder):
    """Fails if a frame is skipped or doubled, a seek lands elsewhere, or one kind is not found."""
    source = open_source("clip_folder", "all", folder=folder, frames=4, captions=True)
    names = ["a.gif", "below/b.webp", "c", "d.mp4"]
    assert [path.as_posix() for path in source.paths] == names
    assert [source[i]["text"] for i in range(4)] == [f"clip {name}" for name in "abcd"]
    for index in range(4):
        assert source[index]["x"].shape == (4, 16, 24, 3)
        assert frames_of(source[index]["x"]) == [4, 5, 6, 7]
        begins = set()
        for seed in range(40):
            window = frames_of(source.draw(index, np.random.default_rng(seed))["x"])
            assert window == list(range(window[0], window[0] + 4))
            begins.add(window[0])
        assert begins == set(range(9))


@pytest.mark.parametrize(("rate", "wanted"), [(5.0, [0, 2, 4, 6, 8]), (20.0, [0, 0, 1, 2, 2])])
def test_a_rate_is_in_seconds(folder, rate, wanted):
    """Fails if a rate counts frames of the file, or a folder's own rate is not used."""
    options = {"folder": folder, "frames": 5, "rate": rate, "frame_rate": 10.0}
    source = open_source("clip_folder", "all", **options)
    for index in range(4):
        found = frames_of(source._example(index, 0.0)["x"])
        assert found == wanted


def test_windows_of_a_training_depend_on_the_position(folder):
    """Fails if a window is not drawn anew in each epoch, or differs between two equal runs."""
    source = open_source("clip_folder", "all", folder=folder, frames=3, size=8)
    assert output_shape(source) == (3, 8, 8, 3)

    def levels():
        batches = loader(source, batch_size=4, seed=3)
        return [next(batches)["x"][:, 0, 0, 0, 0] for _ in range(4)]

    once, again = levels(), levels()
    np.testing.assert_array_equal(once, again)
    assert len({each.round(3).tobytes() for each in once}) == 4


def test_unusable_clips_are_an_error_or_left_out_with_a_count(tmp_path, caplog):
    """Fails if a broken or a short clip ends a training later, or goes without a word."""
    save_animation(tmp_path / "good.gif")
    save_animation(tmp_path / "short.gif", GREYS[:3])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    options = {"folder": tmp_path, "frames": 4}
    with pytest.raises(ValueError, match=r"3 of 4 clips cannot be used: .*broken\.gif: not a read"):
        open_source("clip_folder", "all", **options)
    with caplog.at_level(logging.WARNING):
        source = open_source("clip_folder", "all", unusable="left_out", **options)
    assert [path.name for path in source.paths] == ["good.gif"]
    assert "3 of 4 clips left out" in caplog.text
    assert "short.gif: too short, 3 frames at 10 a second; wanted are 4" in caplog.text
    with pytest.raises(ValueError, match="no clips in split 'all'"):
        open_source("clip_folder", "all", unusable="left_out", folder=tmp_path, frames=50)


def test_wrong_options_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="'nowhere' is not a folder"):
        open_source("clip_folder", "train", folder="nowhere")
    with pytest.raises(ValueError, match="unknown split 'dev'; known: all, test, train"):
        open_source("clip_folder", "dev", folder=folder)
    with pytest.raises(ValueError, match=r"clip_folder\.unusable is 'skip'"):
        open_source("clip_folder", "train", folder=folder, unusable="skip")
    save_animation(tmp_path / "cat.gif")
    with pytest.raises(
        FileNotFoundError, match=r"1 clips have none, such as .*cat\.txt is missing"
    ):
        open_source("clip_folder", "all", folder=tmp_path, frames=4, captions=True)


def test_splits_are_by_name(folder):
    """Fails if a clip is in both splits, or in none."""
    parts = []
    for split in ("train", "test"):
        try:
            source = open_source("clip_folder", split, folder=folder, frames=2, test_fraction=0.5)
            parts += source.paths
        except ValueError as error:
            assert "no clips" in str(error)
    assert sorted(map(str, parts)) == ["a.gif", "below/b.webp", "c", "d.mp4"]
