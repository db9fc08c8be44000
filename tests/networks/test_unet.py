from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks import resampling, times
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.resampling import level_sizes
from jaxdiff.networks.unet import ResidualBlock, Residuals, UNet
from jaxdiff.typing import Condition

NET = UNet(
    channels=(8, 16),
    layers_per_block=1,
    num_heads=2,
    scale_shift=True,
    dropout=0.3,
    inputs=Inputs(num_classes=3, vectors={"clip": 5}, scalars={"until": 1.0}),
)
TIME = jnp.array([10.0, 500.0, 900.0])
COND = {"label": jnp.array([0, 1, 2]), "clip": jnp.ones((3, 5)), "until": TIME / 2}


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (3, 8, 8, 3))


def draw_params(net, x):
    """Random everywhere, so that zero-initialised layers count; drawn without compiling."""
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x, TIME[: len(x)], {})
    around = lambda path: 1 if path[-1].key == "scale" else 0
    value = lambda path, a: around(path) + draw.normal(size=a.shape, scale=0.2).astype("float32")
    return jax.tree.map(jnp.asarray, jax.tree_util.tree_map_with_path(value, shapes))


@pytest.fixture(scope="module")
def params(x):
    return draw_params(NET, x)


@pytest.fixture(scope="module")
def apply():
    return jax.jit(NET.apply)


def test_is_zero_at_the_start():
    net, x = UNet(channels=(8,), layers_per_block=1), jnp.ones((1, 4, 4, 2))
    run = jax.jit(lambda key: net.init_with_output(key, x, TIME[:1], {})[0])
    assert not np.any(run(jax.random.key(0, impl="unsafe_rbg")))


@pytest.mark.parametrize("name", ["time", *COND])
def test_every_input_counts(apply, params, x, name):
    """Catches a condition that is embedded and then forgotten."""
    other = {**COND, "time": TIME}
    other[name] = other[name][::-1] if name != "clip" else -other[name]
    time = other.pop("time")
    difference = apply(params, x, time, other) - apply(params, x, TIME, COND)
    assert np.abs(difference[0]).max() > 1e-2


def test_dropped_is_the_same_as_absent(apply, params, x):
    """Catches an inverted mask, one mask for all, and zeros in place of the null embedding."""
    mask = jnp.array([True, False, True])
    dropped = {name: Condition(value, keep=mask) for name, value in COND.items()}
    masked = apply(params, x, TIME, dropped)
    absent = apply(params, x, TIME, {"until": COND["until"]})
    full = apply(params, x, TIME, COND)
    np.testing.assert_allclose(masked[1], absent[1], atol=1e-4)
    np.testing.assert_allclose(masked[::2], full[::2], atol=1e-4)
    assert np.abs(full[1] - absent[1]).max() > 1e-2


def test_dropout_belongs_to_the_example(apply, params, x):
    """Catches masks that depend on the batch, and dropout without keys."""
    keys = jax.random.split(jax.random.key(0), 3)
    dropped = apply(params, x, TIME, COND, keys)
    last = jax.tree.map(lambda a: a[::-1], COND)
    again = apply(params, x[::-1], TIME[::-1], last, keys[::-1])
    np.testing.assert_allclose(dropped, again[::-1], atol=1e-4)
    plain = apply(params, x, TIME, COND)
    assert all(np.abs(one - other).max() > 1e-2 for one, other in zip(dropped, plain, strict=True))


def test_forward_and_reverse_mode_agree(x):
    """Catches a rule that forbids jvp or disagrees with the gradient: <y, jvp> = <vjp, v>."""
    net, x, time = UNet(channels=(8,), layers_per_block=1), x[:1, :4, :4], TIME[:1]
    params = draw_params(net, x)

    @jax.jit
    def both(x, time):
        f = lambda x, time: net.apply(params, x, time, {})
        y, forward = jax.jvp(f, (x, time), (jnp.cos(x), jnp.ones_like(time)))
        by_x, by_time = jax.vjp(f, x, time)[1](y)
        return jnp.sum(y * forward), jnp.sum(by_x * jnp.cos(x)) + jnp.sum(by_time)

    forward, reverse = both(x, time)
    assert float(forward) == pytest.approx(float(reverse), rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layers_per_block": 2, "head_channels": 4, "attention_at": (8, 2)},
        {"resample_in_block": True, "scale_shift": True, "skip_scale": 0.5**0.5},
        {"downsample_padding": (0, 1), "middle_attention": False, "out_channels": 6},
        {
            "time_sinusoids": times.Fourier(2.0),
            "dtype": "bfloat16",
            "inputs": Inputs(num_classes=2),
        },
    ],
)
def test_shapes_and_types(options):
    """Catches an option whose shapes do not fit together, on an image that is not square."""
    net = UNet(channels=(8, 8, 16), **options)
    x = jnp.ones((2, 8, 12, 3))
    y, params = jax.eval_shape(net.init_with_output, jax.random.key(0), x, TIME[:2], {})
    assert y.shape == (2, 8, 12, options.get("out_channels", 3))
    assert y.dtype == options.get("dtype", jnp.float32)
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    # The parameters must not depend on which conditions the example held.
    cond = {"label": jnp.array([0, 1])}
    same = jax.eval_shape(net.init, jax.random.key(0), x, TIME[:2], cond)
    assert jax.tree.map(jnp.shape, same) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize(
    ("resample", "expected"),
    [(None, lambda x: x), ("down", resampling.average_pool), ("up", resampling.nearest)],
)
def test_a_fresh_block_is_its_shortcut(resample, expected):
    """Catches a branch that is not zero at the start, and a skip_scale that is not applied."""
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    block = ResidualBlock(8, resample, skip_scale=0.5)
    run = jax.jit(lambda key: block.init_with_output(key, x, jnp.ones((2, 4)), None)[0])
    np.testing.assert_allclose(
        run(jax.random.key(0, impl="unsafe_rbg")), 0.5 * expected(x), rtol=1e-5
    )


def test_level_sizes():
    assert level_sizes((8, 12), 3) == [(8, 12), (4, 6), (2, 3)]
    with pytest.raises(
        ValueError, match="28x30: 4 levels need a multiple of 8; the nearest are 24x24 and 32x32"
    ):
        level_sizes((28, 30), 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention_at": (16,)}, r"attention_at has 16, but the levels have heights \[8, 4\]"),
        ({"attention_at": (4,), "head_channels": 3}, "head_channels=3 does not divide the 16"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        (
            {"inputs": Inputs(num_classes=2)},
            r"cond\['label'\] is float32\[2, 1\]; classes are integers \[b\]",
        ),
        (
            {"inputs": Inputs(vectors={"clip": 3})},
            r"cond\['clip'\] has shape \(2, 4\); expected \[b, 3\]",
        ),
    ],
)
def test_errors_name_the_field(options, message):
    cond = {"label": jnp.ones((2, 1)), "clip": jnp.ones((2, 4))}
    with pytest.raises(ValueError, match=message):
        net = UNet(channels=(8, 16), layers_per_block=1, **options)
        jax.eval_shape(net.init, jax.random.key(0), jnp.ones((2, 8, 8, 3)), TIME[:2], cond)


def test_residuals_are_added_to_the_skips_and_to_the_middle(apply, params, x):
    """Fails if a residual is left out, or added before the middle blocks or to another skip."""
    shapes = [(8, 8), (8, 8), (4, 8), (4, 16)]
    skips = [jnp.zeros((3, side, side, width)) for side, width in shapes]
    zero = Residuals(jnp.zeros((3, 4, 4, 16)), skips)
    plain = apply(params, x, TIME, COND)
    np.testing.assert_array_equal(apply(params, x, TIME, COND, residuals=zero), plain)
    ones = jax.tree.map(jnp.ones_like, zero)
    for i in range(len(skips) + 1):
        leaves = jax.tree.leaves(zero)
        leaves[i] = jax.tree.leaves(ones)[i]
        one = jax.tree.unflatten(jax.tree.structure(zero), leaves)
        assert np.abs(apply(params, x, TIME, COND, residuals=one) - plain).max() > 1e-3
    with pytest.raises(ValueError, match=r"residuals have shapes .* expected .*\(3, 4, 4, 16\)"):
        jax.eval_shape(
            partial(NET.apply, residuals=zero._replace(skips=skips[:-1])), params, x, TIME, COND
        )


def test_remat_keeps_the_names_of_parameters(x):
    """Fails if weights of a network without it no longer load."""
    shapes = lambda net: jax.eval_shape(net.init, jax.random.key(0), x, TIME, {})
    saving = "dots_with_no_batch_dims_saveable"
    assert shapes(NET.clone(remat=saving)) == shapes(NET)
    with pytest.raises(ValueError, match="remat is 'dots'"):
        UNet(channels=(8,), remat="dots")


@pytest.mark.slow
def test_remat_changes_no_gradient(params, x):
    """Dropout included: fails if its masks depend on the path, or are drawn anew."""
    keys = jax.random.split(jax.random.key(0), 3)

    def gradient(net):
        loss = lambda params: (net.apply(params, x, TIME, COND, keys) ** 2).sum()
        return jax.jit(jax.grad(loss))(params)

    pairs = zip(
        *(jax.tree.leaves(gradient(net)) for net in (NET, NET.clone(remat="nothing_saveable"))),
        strict=True,
    )
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
