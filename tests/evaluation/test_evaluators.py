"""Evaluators on samples drawn by a function: the files they write and the data they refuse."""

import numpy as np
import pytest
from PIL import Image

from jaxdiff.config.build import build
from jaxdiff.evaluation import evaluators, report
from jaxdiff.evaluation.evaluators import SampleGrid, balanced_labels
from jaxdiff.evaluation.reference import make_reference


def clips_of(weights, num, cond, **options):
    """Draws black clips [num, 3, 16, 16, 1] whose frame k is white in row k of column `label`."""
    clips = np.full((num, 3, 16, 16, 1), -1.0)
    for clip, label in zip(clips, cond["label"], strict=True):
        clip[np.arange(3), np.arange(3), label] = 1.0
    return clips


def test_labels_are_balanced_and_in_blocks():
    assert balanced_labels(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(np.bincount(balanced_labels(10, 4))) == [2, 2, 3, 3]


def test_a_grid_of_clips_is_a_strip_and_a_film(tmp_path):
    """Fails if a class is missing from the strips, or the film has another number of frames."""
    grid = SampleGrid(clips_of, num_classes=4, folder=tmp_path, columns=4)
    ((name, strips),) = grid.run({}, 7)
    assert name == "samples" and strips.shape == (8 * 66 + 2, 3 * 66 + 2, 1)
    with Image.open(tmp_path / "step_00000007.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), strips[..., 0])
    for row in range(8):  # every second of 16 clips: two of each class
        white = np.argwhere(strips[2 + row * 66 :][:64, 2:66, 0] == 255)
        assert white.min(axis=0).tolist() == [0, 4 * (row // 2)]
    with Image.open(tmp_path / "step_00000007.gif") as film:
        assert film.n_frames == 3 and film.size == (4 * 66 + 2, 4 * 66 + 2)


def test_a_strip_of_clips_shows_their_middle_frames(tmp_path):
    """Fails if a clip's first frame is shown, or the whole clip refused."""
    path = clips_of({}, 2, {"label": [0, 1]})[None].repeat(3, axis=0)
    report.save_frames(tmp_path / "clips.png", path, ["a", "b", "c"])
    report.save_frames(tmp_path / "middle.png", path[:, :, 1], ["a", "b", "c"])
    assert (tmp_path / "clips.png").read_bytes() == (tmp_path / "middle.png").read_bytes()


@pytest.mark.parametrize("name", ["SampleQuality", "NearestNeighbours"])
def test_clips_are_refused_before_anything_is_drawn(name, tmp_path):
    """Fails if the error comes after a training: the constructor must raise it."""
    given = {"draw": clips_of, "num_classes": 2, "reference": list, "folder": tmp_path}
    build(evaluators, name, **given, shape=(8, 8, 1))
    with pytest.raises(ValueError, match=rf"{name}: .*\(3, 8, 8, 1\) is of clips.*SampleGrid"):
        build(evaluators, name, **given, shape=(3, 8, 8, 1))


def test_the_reference_of_clips_is_refused_before_they_are_read(tmp_path):
    with pytest.raises(ValueError, match=r"evaluation: .* is of clips"):
        make_reference(iter(()), iter(()), {"name": "x", "shape": (3, 8, 8, 1)}, tmp_path)
