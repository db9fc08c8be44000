"""Image files of every depth, read by the range of their pixels."""

import numpy as np
import pytest
from PIL import Image

from jaxdiff.data.images import decode

GREY = np.array([[0, 128, 257], [32768, 65407, 65535]], np.uint16)
"""Levels of 16 bits; 257 is level 1 of 8 bits, and 65407 is nearest to 255."""


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_of_16_bits_is_scaled(tmp_path, suffix, channels):
    """Fails if levels above 255 are cut off, which turns a picture white."""
    path = tmp_path / f"grey.{suffix}"
    Image.fromarray(GREY).save(path)
    found = decode(path, channels, str(path))
    assert found.dtype == np.uint8 and found.shape == (2, 3, channels)
    assert found[..., 0].tolist() == [[0, 0, 1], [128, 255, 255]]
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize(("kind", "name"), [(np.float32, "floats"), (np.int32, "integers of 32")])
def test_pixels_without_a_range_are_refused(tmp_path, kind, name):
    """Fails if floats in [0, 1] become a black picture."""
    path = tmp_path / "deep.tiff"
    Image.fromarray(np.eye(4, dtype=kind)).save(path)
    with pytest.raises(ValueError, match=rf"deep\.tiff: .*{name}.*8 or 16 bits"):
        decode(path, 1, str(path))


def test_pictures_of_8_bits_are_read_pixel_by_pixel(tmp_path):
    """Fails if the scaling of 16 bits touches other depths, palettes or single bits."""
    x = np.random.default_rng(0).integers(0, 256, (4, 5), np.uint8)
    for image, expected in (
        (Image.fromarray(x), x),
        (Image.fromarray(x).convert("P"), x),
        (Image.fromarray(x > 99), np.where(x > 99, 255, 0)),
    ):
        image.save(tmp_path / "x.png")
        np.testing.assert_array_equal(decode(tmp_path / "x.png", 1, "x")[..., 0], expected)
