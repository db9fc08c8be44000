"""Models with further input channels: the masked picture of inpainting, and depth."""

import numpy as np
import pytest

from jaxdiff.pipelines.painting import depth_of, maps_of

MASK = np.zeros((4, 4), bool)
MASK[:, :2] = True
IMAGE = np.random.default_rng(0).uniform(-1, 1, (1, 4, 4, 3))


def test_maps_of_inpainting():
    """Fails if known and unknown are exchanged, or a hidden pixel reaches the encoder."""
    seen = []
    encode = lambda x: (seen.append(x), x[:, ::2, ::2])[1]
    maps = {"mask": 1, "masked_image": 4}
    found = maps_of(maps, 1, (4, 4), 2, encode, image=IMAGE, mask=MASK, depth=None)
    np.testing.assert_array_equal(found["mask"][0, ..., 0], [[0, 1], [0, 1]])
    np.testing.assert_array_equal(seen[0][0, :, 2:], 0)
    np.testing.assert_array_equal(seen[0][0, :, :2], IMAGE[0, :, :2])
    with pytest.raises(ValueError, match="give image and mask"):
        maps_of(maps, 1, (4, 4), 2, encode, image=IMAGE, mask=None, depth=None)
    with pytest.raises(ValueError, match=r"mask is bool\[2, 4\]; expected bool\[4, 4\]"):
        maps_of(maps, 1, (4, 4), 2, encode, image=IMAGE, mask=MASK[:2], depth=None)


def test_maps_of_depth():
    """Fails if depth is not scaled to its own range, or is read by a model that has none."""
    ramp = np.arange(16.0).reshape(4, 4)
    np.testing.assert_allclose(
        depth_of(ramp, 1, (4, 4), 2)[0, ..., 0], [[-1, -0.6], [0.6, 1]], atol=1e-6
    )
    with pytest.raises(ValueError, match="the same everywhere"):
        depth_of(0 * ramp, 1, (4, 4), 2)
    with pytest.raises(ValueError, match="does not read it"):
        maps_of({}, 1, (4, 4), 2, np.asarray, image=None, mask=None, depth=ramp)
