"""Figures of maps that are read back, on pictures small enough to count by hand."""

import numpy as np
import pytest

from jaxdiff.data.scenes import truth
from jaxdiff.evaluation import map_figures
from jaxdiff.evaluation.map_reading import Reader, train_reader


def marks(*places):
    """A picture of 8x8 with marks at (row, column)."""
    found = np.zeros((8, 8), bool)
    for row, column in places:
        found[row, column] = True
    return found


def test_edges_may_be_a_pixel_off():
    """Fails if a neighbour, also at a corner, does not count, or one two pixels away does."""
    truth = marks((3, 3), (3, 4))
    assert map_figures.edge_f1(truth, truth) == 1
    assert map_figures.edge_f1(marks((2, 2), (4, 5)), truth) == 1
    assert map_figures.edge_f1(marks((3, 6), (5, 3)), truth) == 0
    # Of three marks one is right; of two edges both are found: 2 (1/3) 1 / (4/3).
    assert map_figures.edge_f1(marks((3, 3), (0, 0), (7, 7)), truth) == pytest.approx(0.5)
    assert map_figures.edge_f1(marks(), truth) == 0
    assert map_figures.edge_f1(marks(), marks()) == 1


def test_the_intersection_is_averaged_over_classes_of_the_truth():
    """Fails if pixels are averaged instead, or a class that is only found counts."""
    truth = np.repeat([[0, 0, 0, 5]], 4, axis=0)
    found = np.repeat([[0, 0, 5, 5]], 4, axis=0)
    assert map_figures.mean_iou(found, truth) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert map_figures.mean_iou(np.where(found == 5, 7, 0), truth) == pytest.approx(1 / 3)


def test_the_order_of_depth_is_of_things_that_touch():
    """Fails if the order is turned round, or things apart are compared."""
    masks = np.zeros((3, 8, 16), bool)
    masks[0, :, :4], masks[1, :, 5:8] = True, True
    depth = np.zeros((8, 16))
    depth[:, :4], depth[:, 5:8] = 0.2, 0.3
    assert map_figures.depth_order(depth, masks) == 1
    assert map_figures.depth_order(-depth, masks) == 0
    masks[1] = np.roll(masks[1], 6, axis=1)
    assert map_figures.depth_order(depth, masks) is None


def test_key_points_are_nearest_peaks():
    """Fails if x and y are exchanged, a faint peak counts, or a missing one costs nothing."""
    blobs = np.zeros((12, 12, 2), np.float32)
    blobs[4, 7, 0], blobs[9, 9, 0], blobs[2, 2, 1] = 1.0, 0.8, 0.2
    points = np.zeros((1, 2, 3), np.float32)
    points[0, 0] = 7.5, 1.5, 1
    assert map_figures.point_error(blobs, points) == pytest.approx(3)
    points[0, 1] = 2.5, 2.5, 1  # at the faint peak alone
    assert map_figures.point_error(blobs, points, most=10.0) == pytest.approx((3 + 10) / 2)
    assert map_figures.point_error(blobs, 0 * points) == 0


def test_the_difference_is_a_root_mean_square():
    """Fails if it is a mean of absolute values."""
    assert map_figures.rms(np.float32([0, 0, 0, 2]), np.zeros(4, np.float32)) == 1


def test_a_reader_learns_maps():
    """Fails if the channels of its output are mixed up: a bright square is class 3 and near."""
    rng = np.random.default_rng(0)
    images, numbers = np.full((64, 16, 16, 3), -1, np.float32), np.zeros((64, 16, 16), np.int32)
    for image, number, (row, column) in zip(
        images, numbers, rng.integers(0, 9, (64, 2)), strict=True
    ):
        square = np.s_[row : row + 8, column : column + 8]
        image[square], number[square] = 1, 3
    truths = {
        "segmentation": numbers,
        "depth": (numbers / 6).astype(np.float32),
        "points": np.zeros((64, 1, 5, 3), np.float32),
    }
    reader = train_reader(images, truths, channels=(8, 8), steps=60, batch_size=16)
    assert isinstance(reader, Reader)
    read = reader(images[:8])
    assert (read.segmentation == numbers[:8]).mean() > 0.95
    assert set(np.unique(read.segmentation)) <= {0, 3}
    edges = [truth.edges(each) for each in numbers[:8]]
    found = [map_figures.edge_f1(*each) for each in zip(read.edges, edges, strict=True)]
    assert np.mean(found) > 0.9
    near = numbers[:8] == 3
    assert read.depth[near].mean() > 0.3
    assert read.depth[~near].mean() < 0.1
    assert np.abs(read.key_points).mean() < 0.1
