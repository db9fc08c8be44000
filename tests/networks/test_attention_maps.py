"""Maps of attention through collections: of scans, of blocks in turn, and of networks without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.attention import EDITS
from jaxdiff.networks.attention_maps import EditedMaps, SharedMaps, edits_of, recorded_maps
from jaxdiff.networks.dit import DiT
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.unet import UNet
from jaxdiff.typing import Condition

TEXT = Inputs(text_features=6)
SMALL = {"channels": (8,), "layers_per_block": 1, "middle_attention": False, "inputs": TEXT}
NETWORKS = {
    "DiT": (DiT(features=8, depth=2, num_heads=2, patch=(1, 2, 2), inputs=TEXT), 2, 4),
    "UNet": (UNet(transformer_depth=(2,), num_heads=2, unroll=1, **SMALL), 6, 16),
}


def inputs():
    draw = lambda i, *shape: jax.random.normal(jax.random.key(i), shape)
    cond = {"text": Condition(draw(1, 2, 5, 6), jnp.ones((2, 5), bool).at[:, 4].set(False))}
    return draw(0, 2, 4, 4, 3), jnp.array([0.3, 0.3]), cond


def params_of(network):
    made = network.init(jax.random.key(0), *inputs())["params"]
    leaves, structure = jax.tree.flatten(made)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [0.3 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return structure.unflatten(drawn)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_layer_s_maps_are_read_and_replaced(name):
    """Fails if a scan hides maps or edits, or attention without them is other than with them."""
    network, layers, places = NETWORKS[name]
    params = params_of(network)
    rows = lambda a: jnp.broadcast_to(jnp.asarray(a, jnp.float32), (2, *np.shape(a)))
    on = jnp.array([False, True])
    edit = lambda active: EditedMaps(rows(np.eye(5)), rows(np.ones(5)), rows(np.ones(5)), active)
    edits = edits_of(params, text=edit(on), **{"self": SharedMaps(on)})
    off = edits_of(params, text=edit(~on & on), **{"self": SharedMaps(~on & on)})
    with_edits = lambda edits: {"params": params, EDITS: edits}

    @jax.jit
    def run(x, t, cond):
        plain = network.apply({"params": params}, x, t, cond)
        same, changed = (network.apply(with_edits(each), x, t, cond) for each in (off, edits))
        maps = [
            recorded_maps(network, variables, x, t, cond)
            for variables in ({"params": params}, with_edits(edits))
        ]
        return plain, same, changed, maps

    plain, same, changed, (own, edited) = run(*inputs())
    np.testing.assert_allclose(same, plain, atol=1e-6)
    np.testing.assert_allclose(changed[0], plain[0], atol=1e-6)
    assert np.abs(changed[1] - plain[1]).max() > 1e-5
    assert [each.shape for each in own] == [(2, places, 5)] * layers
    for before, after in zip(own, edited, strict=True):
        np.testing.assert_allclose(before.sum(-1), 1, atol=1e-5)
        assert not before[..., 4].any()  # a masked token
        np.testing.assert_allclose(after[1], before[0], atol=1e-6)


def test_a_network_without_attention_to_a_text_is_named():
    """Fails if an edit of nothing passes for one."""
    network = UNet(channels=(8,), layers_per_block=1, middle_attention=False)
    params = network.init(jax.random.key(0), *inputs()[:2], {})["params"]
    with pytest.raises(ValueError, match="the network has no attention 'text' whose maps"):
        edits_of(params, text=None)
    with pytest.raises(ValueError, match="no attention to a text, whose maps could be read"):
        recorded_maps(network, {"params": params}, *inputs()[:2], {})
