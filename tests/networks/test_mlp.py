import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.mlp import MLP

TIME = jnp.array([0.0, 300.0, 900.0])
POINTS = jnp.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])


@pytest.fixture(scope="module")
def network():
    net = MLP(features=16, num_blocks=2, dropout=0.5, inputs=Inputs(num_classes=2))
    key = jax.random.key(0, impl="unsafe_rbg")
    initial = jax.jit(net.init)(key, POINTS, TIME, {})
    assert not np.any(net.apply(initial, POINTS, TIME, {}))
    noise = lambda a: a + 0.3 * jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape)
    params = jax.tree.map(noise, initial)
    apply = jax.jit(net.apply)
    return lambda *args: np.array(apply(params, *args))


def test_every_input_counts(network):
    """Catches a time or label that is embedded and then forgotten."""
    cond = {"label": jnp.array([0, 1, 1])}
    y = network(POINTS, TIME, cond)
    assert y.shape == (3, 2)
    for other in (
        network(POINTS + 1, TIME, cond),
        network(POINTS, TIME + 50, cond),
        network(POINTS, TIME, {"label": jnp.array([1, 0, 0])}),
        network(POINTS, TIME, {}),
        network(POINTS, TIME, cond, jax.random.split(jax.random.key(0), 3)),
    ):
        assert np.abs(y - other).max(1).min() > 1e-3


def test_examples_do_not_meet(network):
    """Catches any mixing over the batch, dropout included."""
    keys = jax.random.split(jax.random.key(0), 3)
    y = network(POINTS, TIME, {}, keys)
    np.testing.assert_allclose(network(POINTS[1:], TIME[1:], {}, keys[1:]), y[1:], atol=1e-5)
