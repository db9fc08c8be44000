"""Muon: matrices move by orthogonalized momentum, layer by layer of a scan; the rest by Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdiff.training.muon import muon
from jaxdiff.training.optimizer import make_optimizer

PARAMS = {
    "matrix": jax.random.normal(jax.random.key(0), (6, 4)),
    "blocks": jax.random.normal(jax.random.key(1), (3, 6, 4)),
    "bias": jnp.ones(5),
}


def test_each_layer_of_a_scan_is_a_matrix_of_its_own():
    """Singular values are equal but for the iteration's error; fails if layers are mixed."""
    optimizer = muon(1.0)
    gradient = jax.tree.map(lambda p: p * jnp.linspace(0.1, 3.0, p.size).reshape(p.shape), PARAMS)
    updates, _ = jax.jit(optimizer.update)(gradient, optimizer.init(PARAMS), PARAMS)
    for matrix in (updates["matrix"], *updates["blocks"]):
        values = np.linalg.svd(matrix, compute_uv=False)
        assert values.max() / values.min() < 2
    alone = muon(1.0)
    layer = {"blocks": gradient["blocks"][1]}
    params = {"blocks": PARAMS["blocks"][1]}
    single, _ = alone.update(layer, alone.init(params), params)
    np.testing.assert_allclose(updates["blocks"][1], single["blocks"], atol=1e-4)
    adam = optax.nadam(1.0)
    expected, _ = adam.update({"bias": gradient["bias"]}, adam.init({"bias": PARAMS["bias"]}))
    np.testing.assert_allclose(updates["bias"], expected["bias"], rtol=1e-5)


def test_a_config_names_it():
    config = {"name": "jaxdiff.training.muon:muon", "learning_rate": 1e-3, "schedule": "constant"}
    optimizer, rates = make_optimizer({**config, "clip_norm": 0.0, "b2": 0.95})
    state = optimizer.init(PARAMS)
    updates, _ = optimizer.update(PARAMS, state, PARAMS, rates={"": rates[""](0)})
    assert 0 < float(jnp.abs(updates["matrix"]).max()) < 1e-2
