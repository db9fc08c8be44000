"""Correlation with a template, on pictures whose answer is known."""

import numpy as np
import pytest

from jaxdiff.evaluation.templates import Template, correlation, resemblance

RNG = np.random.default_rng(0)
DRAWING = RNG.uniform(-1, 1, (9, 7, 3))
DISK = np.hypot(*np.mgrid[-4:5, -3:4]) < 4.2
TEMPLATE = Template(DRAWING, DISK)


def shown(drawing, row=5, column=8):
    """A picture of noise with the drawing's disk in it."""
    image = RNG.uniform(-1, 1, (20, 24, 3))
    part = image[row : row + 9, column : column + 7]
    image[row : row + 9, column : column + 7] = np.where(DISK[..., None], drawing, part)
    return image


@pytest.mark.parametrize("place", [(0, 0), (5, 8), (11, 17)])
def test_a_drawing_is_found_anywhere(place):
    """Fails if a place, a corner too, is left out, or the surroundings count."""
    assert correlation(shown(DRAWING, *place), TEMPLATE) == pytest.approx(1)


def test_contrast_and_shifts_of_channels_do_not_count():
    """Fails if the means of a part are not taken off, channel by channel."""
    assert correlation(shown(0.3 * DRAWING + [0.1, -0.2, 0.3]), TEMPLATE) == pytest.approx(1)
    assert correlation(shown(-DRAWING), TEMPLATE) < 0.7


def test_it_is_the_correlation_of_numpy():
    """Fails if the figure at the only place is not Pearson's, over pixels without channel means."""
    image = RNG.uniform(-1, 1, (9, 7, 3))
    a, b = ((x - x[DISK].mean(0))[DISK].ravel() for x in (image, DRAWING))
    assert correlation(image, TEMPLATE) == pytest.approx(a @ b / np.sqrt(a @ a * (b @ b)))


def test_a_blot_has_no_likeness():
    """Fails if flat parts are divided by nothing."""
    assert abs(correlation(np.full((20, 24, 3), 0.4), TEMPLATE)) < 1e-3


def test_the_best_template_counts():
    """Fails if a drawing of another size or angle lowers the figure."""
    others = [Template(RNG.uniform(-1, 1, (5, 5, 3)), np.ones((5, 5), bool)), TEMPLATE]
    assert resemblance(shown(DRAWING), others) == pytest.approx(1)


def test_a_template_larger_than_the_picture_is_named():
    """Fails if the correlation of nothing is returned."""
    with pytest.raises(ValueError, match="larger"):
        correlation(np.zeros((8, 24, 3)), TEMPLATE)
