"""Numbers that networks gain: a second time, a guidance scale."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.condition import drop
from jaxdiff.networks import MLP, DiT, Inputs, MMDiT, UNet, algorithms
from jaxdiff.trees import overlaid

RNG = np.random.default_rng(0)
TIME = np.array([3.0, 700.0], np.float32)
X = RNG.standard_normal((2, 4, 4, 3)).astype(np.float32)
LABEL = np.array([0, 2])
UNTIL = {"until": np.array([0.1, 0.6], np.float32), "guidance_scale": np.array([1.0, 4.0], "f")}
SCALARS = {"until": 1000.0, "guidance_scale": 100.0}
DIT = {"features": 8, "depth": 2, "num_heads": 2, "time_features": 4}
NETWORKS = {
    "MLP": MLP(8, 1, inputs=Inputs(num_classes=3)),
    "UNet": UNet((8,), 1, middle_attention=False, inputs=Inputs(num_classes=3)),
    "DiT": DiT(**DIT, inputs=Inputs(num_classes=3)),
    "MMDiT": MMDiT(**DIT, inputs=Inputs(num_classes=3, text_features=5)),
}


def drawn(network, x):
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, TIME, {})["params"]
    draw = np.random.default_rng(1)
    return jax.tree.map(lambda a: draw.normal(size=a.shape, scale=0.3).astype("f"), shapes)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_gains_a_scalar_begins_as_it_was(name):
    """Fails if the embedding is not zero at first, or another parameter changes its name."""
    plain = NETWORKS[name]
    x = X[:, 0, 0] if name == "MLP" else X
    student = plain.clone(inputs=replace(plain.inputs, scalars=SCALARS))
    params, more = drawn(plain, x), drawn(student, x)
    gained = set(more["cond"]) - set(params["cond"])
    assert gained == {f"{scalar}_{layer}" for scalar in SCALARS for layer in ("hidden", "out")}
    if name != "MLP":
        return
    apply = jax.jit(student.apply)
    key = jax.random.key(0, impl="unsafe_rbg")
    begun = overlaid(jax.jit(student.init)(key, x, TIME, {})["params"], params)
    cond = {"label": LABEL, **UNTIL}
    before = jax.jit(plain.apply)({"params": params}, x, TIME, {"label": LABEL})
    np.testing.assert_array_equal(apply({"params": begun}, x, TIME, cond), before)
    params = more
    full = apply({"params": params}, x, TIME, cond)
    for scalar, value in UNTIL.items():  # each counts, and is there where conditions are dropped
        changed = apply({"params": params}, x, TIME, {**cond, scalar: value + 0.3})
        assert np.abs(changed - full).max(1).min() > 1e-3
        other = {**cond, scalar: value + 0.3}
        dropped = [apply({"params": params}, x, TIME, drop(c)) for c in (cond, other)]
        assert np.abs(dropped[1] - dropped[0]).max(1).min() > 1e-3
    with pytest.raises(ValueError, match="cond has no 'guidance_scale', which the network reads"):
        jax.eval_shape(student.apply, {"params": params}, x, TIME, {"until": UNTIL["until"]})
    with pytest.raises(ValueError, match=r"'until'\] has shape \(2, 1\); expected \[b\]"):
        bad = {**cond, "until": UNTIL["until"][:, None]}
        jax.eval_shape(student.apply, {"params": params}, x, TIME, bad)


@pytest.mark.parametrize("loops", [False, True])
def test_the_tangent_of_a_transformer_is_exact(loops):
    """Attention in blocks too: <y, jvp> = <vjp, tangent>, and jvp is a difference quotient.

    Fails if a rule forbids forward mode, or drops a part of the tangent.
    """
    # 16 × 16 patches are enough tokens for attention in blocks.
    network = DiT(**DIT, patch=(1, 1, 1), inputs=Inputs(scalars={"until": 10.0}))
    x = RNG.standard_normal((1, 16, 16, 1)).astype(np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, TIME[:1], {})["params"]
    params = jax.tree.map(lambda a: RNG.normal(size=a.shape, scale=0.3).astype("f"), shapes)

    def f(x, time, until):
        return network.apply({"params": params}, x, time, {"until": until})

    @jax.jit
    def both(x, time, until):
        tangent = jnp.cos(x), 0.3 * jnp.ones(1), 0.1 * jnp.ones(1)
        y, forward = jax.jvp(f, (x, time, until), tangent)
        gradients = jax.vjp(f, x, time, until)[1](y)
        reverse = sum(jnp.vdot(g, t) for g, t in zip(gradients, tangent, strict=True))
        return jnp.vdot(y, forward), reverse

    with algorithms.use(cpu_loops=loops):
        forward, reverse = both(x, TIME[:1] / 100, np.array([0.2], "f"))
    assert float(forward) == pytest.approx(float(reverse), rel=1e-3)
    assert abs(float(forward)) > 1e-2
