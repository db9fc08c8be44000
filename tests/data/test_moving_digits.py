"""Clips of moving digits, and transforms that act on all frames alike."""

import numpy as np
import pytest

from jaxdiff.config.build import build
from jaxdiff.data import transforms
from jaxdiff.data.moving_digits import MovingDigits
from jaxdiff.data.pipeline import loader
from jaxdiff.data.sources import open_source


@pytest.fixture(scope="module")
def train():
    return open_source("moving_digits", "train")


def test_a_clip_is_one_digit_that_keeps_its_speed_and_stays_inside(train):
    """Fails if speeds change but at the edges, a digit is cut off, or frames are mixed up."""
    for index in range(50):
        example = train[index]
        clip, places = example["x"], example["place"]
        assert clip.shape == train.shape == (8, 16, 16, 1)
        assert clip.dtype == np.uint8
        assert places.min() >= 0 and places.max() <= 8
        cut = [f[r : r + 8, c : c + 8] for f, (r, c) in zip(clip, places, strict=True)]
        assert all(
            (each == cut[0]).all() and each.sum() == f.sum()
            for each, f in zip(cut, clip, strict=True)
        )
        steps = np.abs(np.diff(places, axis=0))
        assert steps.max() <= 2
        inside = (places[:-1] > 1) & (places[:-1] < 7) & (places[1:] > 1) & (places[1:] < 7)
        for axis in range(2):
            assert len(set(steps[inside[:, axis], axis])) <= 1


def test_clips_are_the_same_everywhere_and_splits_share_no_digit(train):
    again = open_source("moving_digits", "train", clips=10)
    np.testing.assert_array_equal(train[7]["x"], again[7]["x"])
    assert len(again) == 10
    test = MovingDigits("test")
    seen = {digit.tobytes() for digit in train._digits}
    assert not seen & {digit.tobytes() for digit in test._digits}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "dev"}, "unknown split 'dev'"),
        ({"split": "train", "size": 8}, "size=8 is not more than 8"),
        (
            {"split": "train", "frames": 0},
            r"moving_digits\.frames is 0; expected an integer",
        ),
        ({"split": "train", "speed": 2}, "moving_digits: .*speed"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        open_source("moving_digits", **options)


@pytest.mark.parametrize(
    "spec",
    [
        "Resize(size=8)",
        "CenterCrop(size=(4, 6))",
        "RandomCrop(size=12, padding=2)",
        "RandomFlip",
        "RGB",
        "ResizeCrop(size=4, random=True)",
    ],
)
def test_a_transform_does_the_same_to_each_frame(train, spec):
    """Fails if frames are cropped apart, flipped along time, or the shape is another."""
    transform = build(transforms, spec)
    clip = train[3]["x"]
    apply = lambda x: (
        transform.random_map({"x": x}, np.random.default_rng(5))
        if hasattr(transform, "random_map")
        else transform.map({"x": x})
    )["x"]
    found = apply(clip)
    assert found.shape == transform.shape(clip.shape)
    np.testing.assert_array_equal(found, np.stack([apply(frame) for frame in clip]))


def test_batches_of_clips_are_in_the_unit_range(train):
    batch = next(loader(train, batch_size=4, seed=0))
    assert batch["x"].shape == (4, 8, 16, 16, 1)
    assert batch["x"].dtype == np.float32
    assert batch["x"].min() == -1 and batch["x"].max() <= 1
