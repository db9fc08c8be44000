"""Transforms of images, and the shapes that they promise."""

import numpy as np
import pytest

from jaxdiff.config.build import build
from jaxdiff.data import transforms

RANDOM = np.random.default_rng(0)


def image(*shape):
    return {"x": RANDOM.integers(0, 256, shape, dtype=np.uint8), "label": 7}


def apply(transform, element):
    if hasattr(transform, "map"):
        return transform.map(element)
    return transform.random_map(element, np.random.default_rng(1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "spec",
    [
        "Resize(size=5)",
        "Resize(size=[5, 20])",
        "CenterCrop(size=5)",
        "CenterCrop(size=[3, 6])",
        "RandomCrop(size=6)",
        "RandomCrop(size=[9, 11], padding=1)",
        "RandomFlip",
        "Grayscale",
        "RGB",
        "ResizeCrop(size=5)",
        "ResizeCrop(size=6, random=True)",
    ],
)
def test_each_makes_the_shape_it_promises_and_keeps_the_rest(spec, channels):
    """Catches height and width swapped, and a lost channel axis."""
    transform = build(transforms, spec)
    before = image(8, 13, channels)
    untouched = before["x"].copy()
    after = apply(transform, before)
    assert after["x"].shape == transform.shape((8, 13, channels))
    assert after["x"].dtype == np.uint8 and after["label"] == 7
    np.testing.assert_array_equal(before["x"], untouched)


def test_resizing_keeps_the_aspect_and_the_mean():
    """Without antialiasing every other column of stripes would be lost: all 0 or all 255."""
    assert transforms.Resize(size=32).shape((64, 128, 3)) == (32, 64, 3)
    stripes = np.tile(np.array([0, 255], np.uint8), (16, 8))[..., None]
    small = transforms.Resize(size=8, method="box").map({"x": stripes})["x"]
    assert set(small.ravel()) <= {127, 128}
    same = image(8, 8, 3)
    assert transforms.Resize(size=8).map(same)["x"] is same["x"]


def test_center_crop_takes_the_middle():
    x = np.arange(36, dtype=np.uint8).reshape(6, 6, 1)
    np.testing.assert_array_equal(transforms.CenterCrop(size=2).map({"x": x})["x"], x[2:4, 2:4])


def test_random_crop_reaches_every_place_and_pads_with_black():
    """Catches an upper bound that is off by one: the last row and column would never come."""
    x = np.arange(1, 10, dtype=np.uint8).reshape(3, 3, 1)
    crop = transforms.RandomCrop(size=2)
    rng = np.random.default_rng(0)
    corners = {int(crop.random_map({"x": x}, rng)["x"][0, 0, 0]) for _ in range(100)}
    assert corners == {1, 2, 4, 5}
    padded = transforms.RandomCrop(size=5, padding=1).random_map({"x": x}, rng)["x"]
    np.testing.assert_array_equal(padded[1:4, 1:4], x)
    assert padded.sum() == x.sum()


def test_flip_mirrors_columns():
    x = image(3, 4, 1)
    rng = np.random.default_rng(0)
    always, never = transforms.RandomFlip(probability=1.0), transforms.RandomFlip(probability=0.0)
    np.testing.assert_array_equal(always.random_map(x, rng)["x"], x["x"][:, ::-1])
    np.testing.assert_array_equal(never.random_map(x, rng)["x"], x["x"])


def test_gray_is_luma_and_rgb_repeats_it():
    color = {"x": np.array([[[100, 150, 200]]], np.uint8)}
    luma = 0.299 * 100 + 0.587 * 150 + 0.114 * 200
    assert abs(int(transforms.Grayscale().map(color)["x"][0, 0, 0]) - luma) < 1
    gray = {"x": np.array([[[90]]], np.uint8)}
    assert transforms.RGB().map(gray)["x"].tolist() == [[[90, 90, 90]]]


def test_a_crop_says_where_it_is():
    """Catches height and width, or top and left, swapped, and places of before the resizing."""
    rows, columns = np.indices((20, 30), dtype=np.uint8)
    element = {"x": np.stack([rows, columns, rows], -1)}
    middle = transforms.ResizeCrop(size=10, method="nearest")
    found = apply(middle, element)
    assert found["size"].tolist() == [20, 30, 0, 2, 10, 10]
    assert found["size"].dtype == np.float32
    left = found["x"][0, 0, 1] / 2
    assert 2 <= left <= 2.5
    seen = set()
    for seed in range(20):
        random = transforms.ResizeCrop(size=10, random=True, method="nearest")
        found = random.random_map(element, np.random.default_rng(seed))
        assert found["size"][3] <= found["x"][0, 0, 1] / 2 <= found["size"][3] + 0.5
        seen.add(found["size"][3])
    assert min(seen) == 0 and max(seen) == 5


def test_captions():
    """Catches another class's name, and a template that is never drawn."""
    names = ("cat", "dog", "newt {x}")
    one = build(transforms, "Caption(template='a {}')", class_names=names)
    assert apply(one, {"label": 2})["text"] == "a newt {x}"
    several = transforms.Caption(["a {}", "the {}"], names, field="caption")
    texts = {
        several.random_map({"label": 1}, np.random.default_rng(i))["caption"] for i in range(9)
    }
    assert texts == {"a dog", "the dog"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ResizeCrop(size=0)", r"size is .*; expected an integer from 1"),
        ("Caption(template='a photo', class_names=['cat'])", "template='a photo' has no {}"),
        ("Caption(template='a {}')", "the data have no classes"),
        ("Resize(size=0)", r"size is .*; expected an integer from 1"),
        ("Resize(size=[1, 2, 3])", r"size is .*; expected an integer from 1"),
        ("Resize(size=4, method='cubic')", "method is 'cubic'; expected one of .*bicubic"),
        ("RandomCrop(size=4, padding=-1)", "padding"),
        ("RandomFlip(probability=2.0)", "probability"),
    ],
)
def test_bad_options_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        build(transforms, spec)


def test_shapes_that_do_not_fit_are_named():
    crop = transforms.CenterCrop(size=9)
    with pytest.raises(ValueError, match=r"CenterCrop\(size=9\).*8x13"):
        crop.shape((8, 13, 3))
    assert transforms.RandomCrop(size=9, padding=1).shape((8, 13, 3)) == (9, 9, 3)
    assert crop.shape((None, None, 3)) == (9, 9, 3)
    with pytest.raises(ValueError, match="8x13"):
        crop.map(image(8, 13, 3))
    with pytest.raises(ValueError, match=r"images \[h, w, c\]"):
        transforms.RandomFlip().shape((2,))
