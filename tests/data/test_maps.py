"""Maps for control networks: of a scene's truth, of its pixels, and several side by side."""

from typing import get_args

import numpy as np
import pytest

from jaxdiff.data import maps
from jaxdiff.data.maps import CHANNELS, OF_TRUTH, SPREAD, ControlMap, ControlMaps, Kind
from jaxdiff.data.sources import open_source

KINDS = get_args(Kind)
SIDE = 32


@pytest.fixture(scope="module")
def scene():
    fields = ("text", *OF_TRUTH.values())
    return open_source("emoji_scenes", "train", size=SIDE, fields=fields)[3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_has_its_channels_and_range(scene, kind):
    """Fails if a kind has other channels than are said, or leaves [0, 1], or shows nothing."""
    found = ControlMap(kind).map(scene)["control"]
    assert found.shape == (SIDE, SIDE, CHANNELS[kind])
    assert found.dtype == np.float32
    assert 0 <= found.min() < found.max() <= 1


def test_truths_are_as_the_scene_says(scene):
    """Fails if channels are mixed up, or a colour stands for two kinds."""
    made = {kind: ControlMap(kind).values(scene) for kind in KINDS}
    np.testing.assert_array_equal(made["masks"][..., 0], scene["masks"][0])
    np.testing.assert_array_equal(made["edges"][..., 0], scene["edges"])
    np.testing.assert_array_equal(made["depth"][..., 0], scene["depth"])
    assert (made["segments"].any(-1) == (scene["segmentation"] > 0)).all()
    palette = maps.colored(np.arange(60)[None])[0]
    assert len(np.unique(palette, axis=0)) == 60


def test_of_pixels_by_hand():
    """Fails if a mean is of other squares, an outline of another darkness, a luma is off."""
    x = np.zeros((8, 8, 3), np.uint8)
    x[:4, :4], x[4:, 4:] = (255, 0, 0), (255, 255, 255)
    example = {"x": x}
    grey = ControlMap("grey").values(example)[..., 0]
    np.testing.assert_allclose([grey[0, 0], grey[0, 7], grey[7, 7]], [0.299, 0, 1], atol=1e-6)
    lines = ControlMap("lines").values(example)[..., 0]
    np.testing.assert_array_equal([lines[0, 0], lines[0, 7], lines[7, 7]], [0, 1, 0])
    means = ControlMap("low_resolution", factor=8).values(example)
    np.testing.assert_allclose(means, np.broadcast_to([0.5, 0.25, 0.25], (8, 8, 3)), atol=1e-6)
    with pytest.raises(ValueError, match="factor=3 does not divide the 8x8 pixels"):
        ControlMap("low_resolution", factor=3).values(example)


def test_key_points_are_gaussians_at_visible_points():
    """Fails if x and y are exchanged, a hidden point is shown, or two layers share no channel."""
    points = np.zeros((2, 5, 3), np.float32)
    points[0, 0], points[1, 0], points[0, 1] = (2.5, 5.5, 1), (6.5, 1.5, 1), (3.5, 3.5, 0)
    found = maps.blobs(points, 8, 10)
    assert found.shape == (8, 10, 5)
    np.testing.assert_allclose([found[5, 2, 0], found[1, 6, 0]], 1)
    np.testing.assert_allclose(found[5, 3, 0], np.exp(-1 / (2 * SPREAD**2)), rtol=1e-4)
    assert found[..., 1:].max() == 0


def test_several_stand_side_by_side_in_their_order(scene):
    """Fails if channels move with the maps that are given, or one that is not given is not zero."""
    several = ControlMaps(("depth", "segments", "edges"))
    assert several.channels == 5
    made = {kind: ControlMap(kind).values(scene) for kind in ("edges", "depth")}
    found = several.joined(made, (SIDE, SIDE))
    np.testing.assert_array_equal(found[..., :1], made["depth"])
    np.testing.assert_array_equal(found[..., 4:], made["edges"])
    assert found[..., 1:4].max() == 0
    batch = several.joined({**made, "depth": np.stack([made["depth"]] * 3)}, (SIDE, SIDE))
    assert batch.shape == (3, SIDE, SIDE, 5)
    np.testing.assert_array_equal(batch[2], found)


def test_an_example_keeps_each_map_by_chance(scene):
    """Fails if maps are kept together, never, or with another probability."""
    several = ControlMaps(("edges", "depth"), keep=0.25)
    rng = np.random.default_rng(0)
    kept = np.array([
        several.random_map(scene, rng)["control"].any((0, 1)) for _ in range(400)
    ])  # fmt: skip
    np.testing.assert_allclose(kept.mean(0), 0.25, atol=0.07)
    np.testing.assert_allclose(kept.all(1).mean(), 0.0625, atol=0.04)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"edge": np.zeros((8, 8, 1))}, "no map 'edge'; known: edges, depth"),
        ({"edges": np.zeros((8, 8, 3))}, r"map 'edges' has shape \(8, 8, 3\), not \(8, 8, 1\)"),
        ({"edges": np.zeros((4, 8, 1))}, r"has shape \(4, 8, 1\), not \(8, 8, 1\)"),
    ],
)
def test_maps_that_do_not_fit_are_named(given, message):
    """Fails if a map that the network does not read is joined in silence."""
    with pytest.raises(ValueError, match=message):
        ControlMaps(("edges", "depth")).joined(given, (8, 8))


def test_a_scene_without_its_truth_is_named(scene):
    """Fails if the error does not say which field is missing."""
    bare = {name: scene[name] for name in ("x", "text")}
    with pytest.raises(ValueError, match=r"examples have .*, no 'segmentation'"):
        ControlMap("segments").map(bare)
