"""The transformer whose conditions are tokens, and the options of DiT that generators have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks import DiT, InContextDiT, Inputs

TIME = jnp.array([3.0, 700.0])
X = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
COND = {
    "label": jnp.array([0, 1]),
    "guidance_scale": jnp.array([1.5, 4.0]),
    "until": jnp.array([0.1, 0.2]),
}
INPUTS = Inputs(num_classes=2, scalars={"guidance_scale": 100.0, "until": 1000.0})
TINY = {"features": 12, "depth": 2, "num_heads": 2, "time_features": 4, "inputs": INPUTS}
NETWORKS = {
    "in context": InContextDiT(**TINY, tokens={"label": 3, "until": 1}, bottleneck=5),
    "generator": DiT(**TINY, registers=3, register_vector=True, gated=True, rms_norm=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_input_counts_and_examples_do_not_meet(name):
    """Fails if a condition is embedded and forgotten, or a token is that of another example."""
    net = NETWORKS[name]
    shapes = jax.eval_shape(net.init, jax.random.key(0), X, TIME, COND)
    rng = np.random.default_rng(1)
    draw = lambda leaf: (0.4 * rng.standard_normal(leaf.shape)).astype(np.float32)
    params = jax.tree.map(draw, shapes)
    apply = jax.jit(net.apply)
    y = np.asarray(apply(params, X, TIME, COND))
    assert y.shape == X.shape
    for other in (
        apply(params, X + 1, TIME, COND),
        apply(params, X, TIME + 50, COND),
        *(apply(params, X, TIME, {**COND, key: 1 - COND[key]}) for key in COND),
    ):
        assert np.abs(y - other).reshape(2, -1).max(1).min() > 1e-4
    changed = X.at[0].add(1.0)
    np.testing.assert_allclose(apply(params, changed, TIME, COND)[1], y[1], atol=1e-5)


def test_tokens_are_counted():
    """8 + 4 + 1 + 4 tokens, no modulation, and nothing at first; fails if a count is ignored."""
    net = InContextDiT(**TINY, tokens={"label": 8, "until": 1})
    shapes = jax.eval_shape(net.init, jax.random.key(0), X, TIME, COND)["params"]
    counts = {n.removeprefix("tokens_"): s.shape[0] for n, s in shapes.items() if "tokens" in n}
    assert counts == {"time": 4, "label": 8, "guidance_scale": 4, "until": 1}
    assert "shift" not in str(shapes["blocks"]) and "bias" not in shapes["blocks"]["self"]["query"]
    out = jax.tree.map(jnp.ones_like, jax.tree.map(lambda s: jnp.zeros(s.shape), shapes))
    out["out"] = jax.tree.map(jnp.zeros_like, out["out"])  # as it begins
    assert not np.any(jax.jit(net.apply)({"params": out}, X, TIME, COND))
    with pytest.raises(ValueError, match="InContextDiT reads labels, vectors and scalars, no text"):
        text = InContextDiT(features=12, num_heads=2, inputs=Inputs(text_features=4))
        jax.eval_shape(text.init, jax.random.key(0), X, TIME, {})
