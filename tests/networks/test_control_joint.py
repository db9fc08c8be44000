"""Control of a transformer of two streams: nothing at first, copies of blocks, a spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.control import begun, control_of
from jaxdiff.networks.dit import MMDiT
from jaxdiff.networks.inputs import Inputs
from jaxdiff.typing import Condition
from tests.support.drawn import Drawn

X = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
TIME = jnp.array([0.2, 0.7])
COND = {"text": Condition(jax.random.normal(jax.random.key(1), (2, 5, 4)))}
HINT = jax.random.uniform(jax.random.key(2), (2, 8, 8, 1))
BASE = MMDiT(8, 6, 2, dual_depth=1, time_features=4, inputs=Inputs(text_features=4))
CONTROL = control_of(BASE, channels=1, factor=2, depth=3)


@pytest.fixture(scope="module")
def params():
    """Random parameters of the network, and the first ones of its control network."""
    shapes = jax.eval_shape(BASE.init, jax.random.key(3), X, TIME, COND)["params"]
    base = Drawn().load(shapes)
    fresh = CONTROL.init(jax.random.key(4), X, TIME, COND, HINT)["params"]
    return base, begun(fresh, base)


@jax.jit
def predicted(params, residuals):
    return BASE.apply({"params": params}, X, TIME, COND, residuals=residuals)


@jax.jit
def residuals_of(params):
    return CONTROL.apply({"params": params}, X, TIME, COND, HINT)


def test_it_begins_as_nothing_and_as_a_copy(params):
    """Fails if a map after a block is not zero, or a block that exists in both is drawn anew."""
    base, control = params
    found = residuals_of(control)
    assert found.shape == (2, 3, 4, 8)
    np.testing.assert_array_equal(found, 0)
    for row, count in (("dual_blocks", 1), ("blocks", 2)):
        own, whole = (each[row]["mlp"]["hidden"]["kernel"] for each in (control, base))
        np.testing.assert_array_equal(own, whole[:count])
        assert control[row]["zero"]["kernel"].shape == (count, 8, 8)


def test_the_map_reaches_every_layer(params):
    """Fails if the map is not read, or the rows' outputs are mixed up or lost."""
    _, control = params
    ones = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.ones_like(leaf) if "zero" in jax.tree_util.keystr(path) else leaf,
        control,
    )
    found, other = residuals_of(ones), CONTROL.apply({"params": ones}, X, TIME, COND, 1 - HINT)
    assert (jnp.abs(found - other).max(axis=(0, 2, 3)) > 1e-3).all()


def test_each_output_is_added_to_as_many_blocks(params):
    """Of 6 blocks and 3 outputs: 0, 0, 1, 1, 2, and none to the last; fails in another order."""
    base, _ = params
    one = jax.random.normal(jax.random.key(5), (2, 3, 4, 8))
    by_block = jnp.stack([one[:, i] for i in (0, 0, 1, 1, 2, 2)], axis=1)
    found = predicted(base, one)
    np.testing.assert_allclose(found, predicted(base, by_block), rtol=1e-5, atol=1e-5)
    unused = by_block.at[:, 5].multiply(-1)
    np.testing.assert_array_equal(predicted(base, unused), predicted(base, by_block))
    assert jnp.abs(found - predicted(base, by_block.at[:, 4].multiply(-1))).max() > 1e-3
    assert jnp.abs(found - predicted(base, jnp.zeros_like(one))).max() > 1e-3


def test_the_last_block_cannot_be_copied():
    """Fails if a copy would be of a block that does not exist."""
    with pytest.raises(ValueError, match="depth=6: 5 blocks of the network can be copied"):
        control_of(BASE, channels=1, factor=2, depth=6)
