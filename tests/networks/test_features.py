"""Features of a network's layers, and discriminators that read them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks import MLP, DiT, FeatureDiscriminator, UNet
from jaxdiff.networks.features import default_layers, features_of

TIME = jnp.array([10.0, 700.0])


def perturbed(net, *inputs):
    """Parameters of a network, none of them zero."""
    key = jax.random.key(0, impl="unsafe_rbg")
    params = jax.jit(net.init)(key, *inputs)["params"]
    noise = lambda a: a + 0.3 * jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape)
    return jax.tree.map(noise, params)


def test_features_are_the_outputs_of_the_layers():
    """Of the last layer, that of the network; fails if another module of the name is read."""
    net, inputs = MLP(features=8, num_blocks=2), (jnp.ones((2, 3)), TIME, {})
    params = perturbed(net, *inputs)
    assert default_layers(net) == ("in", "block_0_out", "block_1_out")
    found = features_of(net, params, ("out", "in"), *inputs)
    np.testing.assert_allclose(found["out"], net.apply({"params": params}, *inputs), rtol=1e-6)
    by_hand = inputs[0] @ params["in"]["kernel"] + params["in"]["bias"]
    np.testing.assert_allclose(found["in"], by_hand, rtol=1e-6)


def test_layers_of_a_scan_are_counted():
    """The last block's tokens depend on the first block; fails if all or none are kept."""
    net, inputs = DiT(features=8, depth=2, num_heads=2), (jnp.ones((2, 4, 4, 3)), TIME, {})
    params = perturbed(net, *inputs)
    layers = default_layers(net)
    read = jax.jit(lambda params: features_of(net, params, layers, *inputs))
    first = read(params)
    assert [first[name].shape for name in ("blocks[0]", "blocks[1]")] == [(2, 4, 8)] * 2
    changed = jax.tree.map(lambda a: a.at[1].add(1.0), params["blocks"])
    second = read({**params, "blocks": changed})
    np.testing.assert_array_equal(first["blocks[0]"], second["blocks[0]"])
    assert np.abs(first["blocks[1]"] - second["blocks[1]"]).min() > 0
    with pytest.raises(ValueError, match=r"'blocks\[2\]': 'blocks' has 2 layers, counted from 0"):
        jax.eval_shape(lambda p: features_of(net, p, ("blocks[2]",), *inputs), params)
    with pytest.raises(ValueError, match=r"no layer 'block' with an output; it has blocks, "):
        jax.eval_shape(lambda p: features_of(net, p, ("block",), *inputs), params)
    with pytest.raises(ValueError, match="FeatureDiscriminator names no feature_layers; name lay"):
        default_layers(FeatureDiscriminator())


def test_a_discriminator_of_images_and_of_tokens():
    """Fails if a head skips places, or examples meet."""
    net = UNet(channels=(8, 16), layers_per_block=1, num_groups=4)
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), x, TIME, {})["params"]
    layers = default_layers(net)
    shapes = jax.eval_shape(lambda *args: features_of(net, *args[:1], layers, *args[1:]), params, x,
                            TIME, {})  # fmt: skip
    assert shapes["middle_1_residual"].shape == (2, 16, 16, 16)
    key = jax.random.key(0, impl="unsafe_rbg")
    features = {"middle": jax.random.normal(key, (3, 8, 8, 4)), "last": jnp.ones((3, 5, 4))}
    strided = FeatureDiscriminator(channels=(8, 8), strides=(2, 4), num_groups=4)
    images = {"middle": features["middle"]}
    scores = strided.apply(strided.init(key, images), images)
    assert scores.shape == (3, 1)  # from 8×8 to 4×4 to one place, as in DMD2
    with pytest.raises(ValueError, match=r"strides=\(2, 4\) need images of at least 2 pixels"):
        strided.init(key, {"last": features["last"]})
    with pytest.raises(ValueError, match=r"strides=\(2,\) must have one value for each of chann"):
        FeatureDiscriminator(channels=(8, 8), strides=(2,)).init(key, images)
    plain = FeatureDiscriminator(channels=(8,), num_groups=4)
    params = plain.init(key, features)
    scores = plain.apply(params, features)
    assert scores.shape == (3, 64 + 5)
    other = {**features, "last": features["last"].at[0].multiply(-2.0)}
    changed = np.any(plain.apply(params, other) != scores, axis=0)
    assert changed[64:].all() and not changed[:64].any()
    np.testing.assert_array_equal(plain.apply(params, other)[1:], scores[1:])
