"""U-Nets of images as U-Nets of clips."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.temporal import NAME
from jaxdiff.networks.unet import UNet
from tests.networks.test_unet import draw_params

IMAGES = UNet(
    channels=(8,), layers_per_block=1, num_heads=2, num_groups=2, inputs=Inputs(num_classes=3)
)
CLIPS = dataclasses.replace(IMAGES, temporal=True, parent=None)
X = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 2))
TIME, COND = jnp.array([10.0, 500.0]), {"label": jnp.array([0, 2])}


@pytest.fixture(scope="module")
def params():
    """Of the network of clips: those of the image's random, the others as they begin."""
    of_images = draw_params(IMAGES, X[:, 0])["params"]
    begun = jax.jit(CLIPS.init)(jax.random.key(0, impl="rbg"), X, TIME, COND)["params"]
    assert {name for name in begun if name not in of_images} == {
        f"{NAME}{name}" for name in ("down_0_0", "middle", "up_0_0", "up_0_1")
    }
    assert all(begun[name].keys() == of_images[name].keys() for name in of_images)
    return of_images, {**begun, **of_images}


def test_frames_are_images_at_first(params):
    """Fails if a layer across frames is not zero, or a frame has another clip's condition."""
    of_images, of_clips = params
    clip = jax.jit(CLIPS.apply)({"params": of_clips}, X, TIME, COND)
    image = jax.jit(IMAGES.apply)
    for i in range(3):
        found = image({"params": of_images}, X[:, i], TIME, COND)
        np.testing.assert_allclose(clip[:, i], found, atol=2e-5)
    with pytest.raises(ValueError, match="a clip's: set temporal=True"):
        IMAGES.apply({"params": of_images}, X, TIME, COND)


def test_frames_and_no_clips_mix_when_trained(params):
    """Fails if a frame sees none of the others, or another clip."""
    rng = np.random.default_rng(1)
    moved = {
        name: jax.tree.map(lambda a: a + rng.normal(size=a.shape).astype(a.dtype) / 2, tree)
        if name.startswith(NAME)
        else tree
        for name, tree in params[1].items()
    }
    apply = jax.jit(CLIPS.apply)
    before = apply({"params": moved}, X, TIME, COND)
    after = apply({"params": moved}, X.at[0, 2].add(1.0), TIME, COND)
    changed = np.abs(after - before).max(axis=(2, 3, 4)) > 1e-4
    assert changed.tolist() == [[True] * 3, [False] * 3]
