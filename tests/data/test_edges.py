"""Edges found in pixels, of pictures whose edges are known."""

import numpy as np
import pytest

from jaxdiff.data.edges import canny


def square(inside=255, outside=0):
    pixels = np.full((32, 32, 3), outside, np.uint8)
    pixels[8:24, 10:26] = inside
    return pixels


def test_the_edge_of_a_square_is_a_line_around_it():
    """Fails if a line is thick, shifted, open, or found where nothing is."""
    found = canny(square())[..., 0]
    assert set(np.unique(found)) == {0.0, 1.0}
    near = np.zeros((32, 32), bool)
    near[7:25, 9:27] = True
    near[10:22, 12:24] = False
    assert not found[~near].any()
    # Every row and column through the square meets its two sides, each once.
    np.testing.assert_array_equal(found[11:21].sum(1), 2)
    np.testing.assert_array_equal(found[:, 13:23].sum(0), 2)
    np.testing.assert_array_equal(canny(square()[..., :1])[..., 0], found)
    assert not canny(np.full((16, 16, 3), 77, np.uint8)).any()


def test_weak_lines_count_where_they_lead_to_strong_ones():
    """Fails if one threshold alone decides."""
    pixels = np.zeros((40, 40, 1), np.uint8)
    pixels[:, 20:] = np.linspace(40, 255, 40, dtype=np.uint8)[:, None, None]
    found = canny(pixels, low=0.05, high=0.5)[..., 0]
    np.testing.assert_array_equal(found[2:-2].sum(1), 1)
    weak = np.zeros((40, 40, 1), np.uint8)
    weak[:, 20:] = 60
    assert not canny(weak, low=0.05, high=0.5).any()
    assert canny(weak, low=0.05, high=0.1).any()


def test_thresholds_are_checked():
    with pytest.raises(ValueError, match=r"low=0\.3 is above high=0\.2"):
        canny(square(), low=0.3)
    with pytest.raises(ValueError, match="high"):
        canny(square(), high=2.0)
