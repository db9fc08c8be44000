"""Closed-form facts of the plane densities."""

import numpy as np
import pytest

from jaxdiff.config.build import names
from jaxdiff.data import toy
from jaxdiff.data.pipeline import loader
from jaxdiff.data.sources import open_source

SIZE = 20_000


def points(name, **options):
    return getattr(toy, name)(np.random.default_rng(0).random((SIZE, 4)), **options)


def test_eight_gaussians_have_their_means_and_widths():
    """Catches a Box-Muller without the 2, and a radius taken for a variance."""
    x, label = points("eight_gaussians", radius=3.0, std=0.1)
    for k in range(8):
        own = x[label == k]
        mean = 3 * np.array([np.cos(np.pi * k / 4), np.sin(np.pi * k / 4)])
        np.testing.assert_allclose(own.mean(0), mean, atol=0.01)
        np.testing.assert_allclose(np.cov(own.T), 0.01 * np.eye(2), atol=0.001)
        assert abs(len(own) / SIZE - 1 / 8) < 0.01


def test_three_peaks_are_the_mixture_that_they_say():
    x, label = points("three_peaks")
    assert x.shape == (SIZE, 1)
    for k, (weight, mean, std) in enumerate([(0.3, -1.5, 0.2), (0.5, 0.0, 0.3), (0.2, 1.2, 0.15)]):
        own = x[label == k]
        assert abs(len(own) / SIZE - weight) < 0.01
        np.testing.assert_allclose([own.mean(), own.std()], [mean, std], atol=0.01)


def test_rings_have_their_radii():
    x, label = points("rings", radii=(1.0, 2.5), std=0.0)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.array([1, 2.5])[label], atol=1e-5)
    np.testing.assert_allclose(x.mean(0), 0, atol=0.05)


def test_two_moons_are_half_circles_that_one_turn_exchanges():
    """Catches a full circle, and moons that do not interleave."""
    x, label = points("two_moons", std=0.0)
    centre = np.where(label[:, None] == 0, [-0.5, -0.25], [0.5, 0.25])
    np.testing.assert_allclose(np.linalg.norm(x - centre, axis=1), 1, atol=1e-5)
    side = np.where(label == 0, 1, -1)
    assert (side * (x - centre)[:, 1] >= -1e-6).all()
    np.testing.assert_allclose(x.mean(0), 0, atol=0.03)


def test_swiss_roll_winds_outward_one_and_a_half_turns():
    """The radius tells the angle: 2.25 turns at radius 2, in proportion below."""
    x, label = points("swiss_roll", std=0.0)
    assert label is None
    radius = np.linalg.norm(x, axis=1)
    assert 2 / 3 - 1e-5 <= radius.min() < 0.68 and 1.99 < radius.max() <= 2 + 1e-5
    angle = 2 * np.pi * 2.25 * radius / 2
    np.testing.assert_allclose(x, radius[:, None] * np.c_[np.cos(angle), np.sin(angle)], atol=1e-4)


def test_checkerboard_fills_every_other_square_evenly():
    """Catches points in light squares, and a row that is left out."""
    x, label = points("checkerboard")
    cell = np.floor(x + 2).astype(int)
    assert (cell.sum(1) % 2 == 0).all() and cell.min() == 0 and cell.max() == 3
    counts = np.unique(cell[:, 0] + 4 * cell[:, 1], return_counts=True)[1]
    assert len(counts) == 8 and (abs(counts / SIZE - 1 / 8) < 0.01).all()
    assert len(np.unique(np.c_[cell, label], axis=0)) == 8


@pytest.mark.parametrize("name", names(toy))
def test_a_point_depends_on_its_index_the_seed_and_the_split_only(name):
    """Catches draws column by column, where the size would change every point."""
    source = lambda split="train", **options: open_source(name, split, **{"size": 9, **options})
    some, more = source(), source(size=50)
    assert len(some) == 9 and some.shape == some[0]["x"].shape and some[0]["x"].dtype == np.float32
    for i in range(9):
        np.testing.assert_array_equal(some[i]["x"], more[i]["x"])
        assert some[i].get("label") == more[i].get("label")
    assert some.num_classes == more.num_classes == source(size=5000).num_classes
    assert some.class_names is None or len(some.class_names) == some.num_classes
    for other in (source("test"), source(seed=1)):
        assert (other[0]["x"] != some[0]["x"]).all()


def test_points_reach_batches_as_they_are():
    source = open_source("two_moons", "test", size=16)
    (batch,) = loader(source, batch_size=16, seed=0, epochs=1)
    assert batch["x"].shape == (16, 2) and batch["x"].dtype == np.float32
    np.testing.assert_array_equal(batch["x"], [source[i]["x"] for i in batch["record"]])


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="unknown split 'validation'; known: train, test"):
        open_source("rings", "validation")
    with pytest.raises(ValueError, match=r"two_moons: .*'noise'"):
        open_source("two_moons", "train", noise=0.1)
    with pytest.raises(ValueError, match=r"RandomFlip.*images \[h, w, c\]"):
        loader(
            open_source("rings", "train", size=4), batch_size=2, seed=0, transforms=["RandomFlip"]
        )
