"""The fused attention of TPUs, its program run on a CPU, beside the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.splash import attend_by_splash

PEERS = (jax.nn.dot_product_attention, lambda q, k, v: attend_by_splash(q, k, v, interpret=True))


@pytest.mark.parametrize(
    ("queries", "keys", "channels"), [(256, 256, 128), (200, 300, 24)], ids=["tiles", "filled up"]
)
def test_outputs_and_gradients_are_those_of_plain_attention(queries, keys, channels):
    """Fails if what fills up the tiles is attended to, or the scale counts its channels."""
    inputs = [
        jax.random.normal(jax.random.key(i), (2, n, 2, channels))
        for i, n in enumerate((queries, keys, keys))
    ]
    found = [
        jax.value_and_grad(lambda *x, f=f: jnp.sum(jnp.sin(f(*x))), (0, 1, 2))(*inputs)
        for f in PEERS
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), *found)
