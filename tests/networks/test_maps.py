"""Conditions that are images or clips of the network's own size."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks import MLP, DiT, Inputs, MMDiT, UNet
from jaxdiff.typing import Condition

RNG = np.random.default_rng(0)
TIME = np.array([3.0, 700.0], np.float32)
X = RNG.standard_normal((2, 4, 4, 3)).astype(np.float32)
MASK = RNG.standard_normal((2, 4, 4, 1)).astype(np.float32)
IMAGE = RNG.standard_normal((2, 4, 4, 3)).astype(np.float32)
MAPS = {"mask": 1, "image": 3}
DIT = {"features": 8, "depth": 2, "num_heads": 2, "time_features": 4}
NETWORKS = {
    "UNet": UNet((8,), 1, middle_attention=False, inputs=Inputs(maps=MAPS)),
    "DiT": DiT(**DIT, inputs=Inputs(maps=MAPS)),
    "MMDiT": MMDiT(**DIT, inputs=Inputs(text_features=5, maps=MAPS)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_channels_behind_the_input_s(name):
    """Catches another order, a map that is not kept where it is, and outputs for maps, too."""
    network = NETWORKS[name]
    cond = {"mask": MASK, "image": Condition(IMAGE, keep=np.array([True, False]))}
    shapes = jax.eval_shape(network.init, jax.random.key(0), X, TIME, {})["params"]
    draw = np.random.default_rng(1)
    params = jax.tree.map(lambda a: draw.normal(size=a.shape).astype("float32"), shapes)
    found = jax.jit(network.apply)({"params": params}, X, TIME, cond)
    null = np.broadcast_to(params["map_image"]["null"], IMAGE.shape)
    image = np.where([[[[True]]], [[[False]]]], IMAGE, null)
    plain = network.clone(inputs=replace(network.inputs, maps={}), out_channels=3)
    params = {name: value for name, value in params.items() if not name.startswith("map_")}
    whole = np.concatenate([X, MASK, image], axis=-1)
    expected = jax.jit(plain.apply)({"params": params}, whole, TIME, {})
    assert found.shape == X.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_map_of_another_size_is_named():
    network, cond = NETWORKS["DiT"], {"mask": MASK[:, :2], "image": IMAGE}
    with pytest.raises(ValueError, match=r"'mask'\] has shape \(2, 2, 4, 1\); expected \(2, 4, 4"):
        jax.eval_shape(network.init, jax.random.key(0), X, TIME, cond)


def test_a_map_that_is_missing_is_named():
    network = DiT(**DIT, inputs=Inputs(maps=MAPS, learned_null=False))
    shapes = jax.eval_shape(network.init, jax.random.key(0), X, TIME, {})
    with pytest.raises(ValueError, match="cond has no 'image', only mask"):
        jax.eval_shape(network.apply, shapes, X, TIME, {"mask": jnp.asarray(MASK)})


def test_conditions_of_points_stay_as_they_were():
    """Catches a table of kinds that the perceptron does not find."""
    network = MLP(features=8, num_blocks=1, inputs=Inputs(num_classes=3))
    tree = jax.eval_shape(network.init, jax.random.key(0), X[:, 0, 0], TIME, {})["params"]
    assert tree["cond"]["label"]["embedding"].shape == (3, 8)
