import numpy as np
import pytest
from PIL import Image, ImageColor

from jaxdiff.evaluation import pictures
from jaxdiff.evaluation.figures import ACCENT, INK, PALE
from jaxdiff.evaluation.pictures import GAP, GREY
from jaxdiff.files import atomic_write


def opened(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def near(pixels, colour, tolerance=40):
    return np.abs(pixels - ImageColor.getrgb(colour)).max(axis=-1) <= tolerance


def test_grid_puts_every_pixel_in_its_place():
    """Catches rows and columns exchanged, smooth enlargement, a wrong range and a missing clip."""
    images = np.full((3, 16, 16, 3), -1.0)
    images[0, 0, 1] = [1.0, 0.0, 7.0]  # one pixel of the first image, beyond the range
    images[1] = 1.0
    sheet = pictures.grid(images, columns=2)
    step = 64 + GAP
    assert sheet.shape == (2 * step + GAP, 2 * step + GAP, 3)
    pixel = sheet[GAP : GAP + 4, GAP + 4 : GAP + 8].reshape(-1, 3)
    assert (pixel == [255, 128, 255]).all()
    assert (sheet[GAP : GAP + 64, GAP : GAP + 4] == 0).all()
    assert (sheet[GAP : GAP + 64, GAP + step : 2 * step] == 255).all()
    assert (sheet[GAP + step : 2 * step, GAP : GAP + 64] == 0).all()
    assert (sheet[GAP + step : 2 * step, GAP + step : 2 * step] == 255).all()
    assert (sheet[:, GAP + 64 : step + GAP] == GREY).all()


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (10, 4), (17, 5)])
def test_grid_is_about_square(count, columns):
    assert pictures.grid(np.zeros((count, 64, 64, 1))).shape[1] == columns * (64 + GAP) + GAP


@pytest.mark.parametrize("shape", [(8, 8, 1), (2, 8, 8, 2), (0, 8, 8, 1), (2, 3, 8, 8, 1)])
def test_a_grid_of_something_else_is_named(shape):
    with pytest.raises(ValueError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
        pictures.grid(np.zeros(shape))
    with pytest.raises(ValueError, match="columns must be"):
        pictures.grid(np.zeros((2, 8, 8, 1)), columns=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_grid_reads_back(tmp_path, channels):
    images = np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, channels))
    pictures.save_grid(tmp_path / "new" / "grid.png", images)
    sheet = pictures.grid(images)
    assert (opened(tmp_path / "new" / "grid.png") == sheet).all()


def test_a_strip_runs_from_left_to_right(tmp_path):
    """Catches times down the side, and captions that are missing or cover the pictures."""
    frames = np.stack([np.full((2, 8, 8, 1), value) for value in (-1.0, 0.0, 1.0)])
    pictures.save_strip(tmp_path / "plain.png", frames)
    plain = opened(tmp_path / "plain.png")
    assert plain[GAP + 10, [10, 76, 142], 0].tolist() == [0, 128, 255]
    pictures.save_strip(tmp_path / "strip.png", frames, ["t=1.00", "t=0.50", "t=0.00"])
    strip = opened(tmp_path / "strip.png")
    header = len(strip) - len(plain)
    assert (strip[header:] == plain).all()
    for start in (0, 66, 132):
        assert near(strip[:header, start : start + 66], INK, 60).sum() > 20
    with pytest.raises(ValueError, match="2 of them for 3 times"):
        pictures.save_strip(tmp_path / "bad.png", frames, ["a", "b"])
    with pytest.raises(ValueError, match=r"\[t, n, h, w, c\]"):
        pictures.save_strip(tmp_path / "bad.png", frames[0])


def test_a_scatter_shows_both_sets_with_equal_axes(tmp_path):
    """Catches unequal axes: the circle of samples must be as wide as it is high."""
    angle = np.linspace(0, 2 * np.pi, 200)
    # Long tick labels leave less width than height.
    circle = 1e5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    truth = circle * [6, 3]
    pictures.save_scatter(tmp_path / "scatter.png", 2 * circle, truth)
    picture = opened(tmp_path / "scatter.png")[100:]  # below the legend
    rows, columns = np.nonzero(near(picture, ACCENT))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 2
    rows, columns = np.nonzero(near(picture, PALE, 20))
    assert np.ptp(columns) > np.ptp(rows)
    with pytest.raises(ValueError, match=r"truth.*\(200, 3\)"):
        pictures.save_scatter(tmp_path / "bad.png", circle, np.zeros((200, 3)))


def test_the_loss_picture_has_a_panel_for_noise_levels(tmp_path):
    """Catches a NaN that spreads along the smoothed line, and a second panel without a line."""
    steps = np.arange(100)
    losses = np.where(steps == 50, np.nan, np.exp(-steps / 30))
    pictures.save_loss(tmp_path / "one.png", steps, losses)
    pictures.save_loss(tmp_path / "two.png", steps, losses, [-5, 0, 5, 9], [0.1, np.nan, 2.0])
    one, two = opened(tmp_path / "one.png"), opened(tmp_path / "two.png")
    assert two.shape[1] == 2 * one.shape[1]
    line = np.nonzero(near(one, ACCENT).any(axis=0))[0]
    assert np.ptp(line) > 0.7 * one.shape[1]
    assert np.diff(line).max() < 5
    assert near(two[:, one.shape[1] :], ACCENT).sum() > 200
    with pytest.raises(ValueError, match=r"\(3,\) and \(3,\)"):
        pictures.save_loss(tmp_path / "bad.png", steps, losses, [-5, 0, 5], [0.1, 0.2, 0.3])


def test_a_failed_write_leaves_the_old_file(tmp_path):
    """Catches writing in place, and temporary files that stay behind."""
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_clips_are_strips_and_play(tmp_path):
    """Fails if time runs down, clips are mixed up, or a GIF has other frames or ends."""
    clips = np.full((2, 3, 16, 16, 1), -1.0)
    for clip, frame in np.ndindex(2, 3):
        clips[clip, frame, frame, clip] = 1.0
    sheet = pictures.clip_strips(clips)
    step = 64 + GAP
    assert sheet.shape == (2 * step + GAP, 3 * step + GAP, 1)
    for clip, frame in np.ndindex(2, 3):
        top, left = GAP + clip * step + 4 * frame, GAP + frame * step + 4 * clip
        assert (sheet[top : top + 4, left : left + 4] == 255).all()
    pictures.save_clips(tmp_path / "clips.gif", clips, columns=2)
    with Image.open(tmp_path / "clips.gif") as movie:
        assert movie.n_frames == 3
        assert movie.info["loop"] == 0
        movie.seek(2)
        last = np.asarray(movie.convert("L"))
    np.testing.assert_allclose(last, pictures.grid(clips[:, 2], 2)[..., 0], atol=2)
