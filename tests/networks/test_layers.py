import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxdiff.networks import algorithms, attention, layers, resampling, times
from jaxdiff.networks.convolution import convolve

CASES = [
    # height, width, kernel, stride, padding; the last image is too small for the form by example
    (16, 17, 3, 1, ((1, 1), (1, 1))),
    (16, 18, 3, 2, ((1, 1), (1, 1))),
    (16, 18, 3, 2, ((0, 1), (0, 1))),
    (4, 4, 1, 1, ((0, 0), (0, 0))),
]


def plain(x, kernel, stride, padding):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def close(got, expected, tolerance=1e-5):
    """Compares on the scale of the largest number."""

    def compare(one, other):
        atol = tolerance * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=atol)

    jax.tree.map(compare, got, expected)


@pytest.fixture
def one_device():
    """The loops on a CPU are for one device; the suite runs on several."""
    with algorithms.use(cpu_loops=True):
        yield


@pytest.mark.parametrize(("height", "width", "size", "stride", "padding"), CASES)
def test_derivatives_of_the_convolution_are_those_of_xla(
    one_device, height, width, size, stride, padding
):
    """Catches a patch order, flip, stride or padding that differs from the kernel's."""
    draw = lambda i, *shape: jax.random.normal(jax.random.key(i), shape)
    x, kernel = draw(0, 2, height, width, 3), draw(1, size, size, 3, 4)

    @partial(jax.jit, static_argnums=0)
    def derivatives(f, x, kernel):
        f = partial(f, stride=stride, padding=padding)
        y, forward = jax.jvp(f, (x, kernel), (x[::-1], kernel[::-1]))
        loss = lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))
        stopped = lambda kernel: jnp.sum(
            f(x, kernel) * lax.stop_gradient(jax.jvp(lambda x: f(x, kernel), (x,), (x,))[1])
        )
        per_example = jax.vmap(jax.grad(lambda k, x: loss(x[None], k)), (None, 0))(kernel, x)
        mixed = jax.grad(lambda x: jnp.sum(jax.grad(loss, 1)(x, kernel) ** 2))(x)
        return (
            y,
            forward,
            jax.grad(loss, (0, 1))(x, kernel),
            jax.grad(stopped)(kernel),
            per_example,
            mixed,
        )

    close(derivatives(convolve, x, kernel), derivatives(plain, x, kernel), 1e-4)


def test_the_gradient_of_the_kernel_keeps_no_patches(one_device):
    """Catches the loss of the rematerialization: patches would be nine times as large as x."""
    x, kernel = jnp.ones((4, 16, 16, 4)), jnp.ones((3, 3, 4, 4))
    _, residuals = jax.vjp(lambda kernel: convolve(x, kernel, 1, ((1, 1), (1, 1))), kernel)
    assert max(a.size for a in jax.tree.leaves(residuals)) <= x.size


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_only_cpu_takes_one_example_after_another(one_device, platform, loops):
    """Catches the choice of form by the machine that lowers, or the CPU's form everywhere."""
    x, kernel = jnp.ones((2, 16, 16, 2)), jnp.ones((3, 3, 2, 2))
    heads = lambda x: x.reshape(2, 256, 1, 2)
    for f in (
        lambda x, kernel: convolve(x, kernel, 1, ((1, 1), (1, 1))).sum(),
        lambda x, kernel: attention.attend(heads(x), heads(x), heads(x)).sum(),
    ):
        traced = jax.jit(jax.grad(f, (0, 1))).trace(x, kernel)
        lowered = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.while" in lowered) == loops


def test_without_loops_a_cpu_takes_the_plain_algorithm():
    """Fails if the setting is not read, or the number of the process's devices counts instead."""
    x, kernel = jnp.ones((2, 16, 16, 2)), jnp.ones((3, 3, 2, 2))
    loss = lambda kernel: convolve(x, kernel, 1, ((1, 1), (1, 1))).sum()
    for cpu_loops in (True, False):
        with algorithms.use(cpu_loops=cpu_loops):
            # `jax.grad` makes a new function: a traced one would keep its algorithm.
            lowered = jax.jit(jax.grad(loss)).lower(kernel).as_text()
        assert ("stablehlo.while" in lowered) == cpu_loops


def test_attention_in_blocks_is_attention(one_device):
    """Catches queries of another head or block, keys for values, and a scale that is left out."""
    draw = jax.random.normal(jax.random.key(0), (3, 2, 288, 2, 4))

    @partial(jax.jit, static_argnums=0)
    def value_and_gradients(attend, query, key, value):
        f = lambda *args: jnp.sum(jnp.sin(attend(*args)))
        return attend(query, key, value), jax.grad(f, (0, 1, 2))(query, key, value)

    close(
        value_and_gradients(attention.attend, *draw),
        value_and_gradients(jax.nn.dot_product_attention, *draw),
        1e-5,
    )


def test_group_norm_is_linens():
    """Catches wrong groups (interleaved channels), eps or scale."""
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (2, 3, 5, 12))
    params = {"scale": jnp.arange(12.0), "bias": jnp.arange(12.0)[::-1]}

    @partial(jax.jit, static_argnums=0)
    def value_and_gradients(norm):
        f = lambda params, x: jnp.sum(jnp.sin(norm.apply({"params": params}, x)))
        return norm.apply({"params": params}, x), jax.grad(f, (0, 1))(params, x)

    ours, linens = layers.GroupNorm(4, eps=1e-3), nn.GroupNorm(4, epsilon=1e-3)
    close(value_and_gradients(ours), value_and_gradients(linens), 1e-4)


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(128, 32), (64, 32), (16, 8), (8, 4), (48, 24), (7, 1), (1, 1), (80, 20)],
)
def test_groups_divide_the_width_and_hold_two_channels(channels, groups):
    assert layers.fitting_groups(32, channels) == groups


def test_sincos_conventions():
    """Closed form; catches swapped halves and a shift that is not applied."""
    time = jnp.array([3.0, 500.0])
    frequencies = np.array([1.0, 10**-2, 10**-4])
    sin, cos = (f(np.array(time)[:, None] * frequencies) for f in (np.sin, np.cos))
    ddpm = times.SinCos(cos_first=False, frequency_shift=1.0)
    close(ddpm(time, 6), np.concatenate([sin, cos], 1), 1e-4)
    adm = times.SinCos(max_period=1e6)
    close(adm(time, 7), np.pad(np.concatenate([cos, sin], 1), ((0, 0), (0, 1))), 1e-4)


def test_fourier_frequencies_get_no_gradient():
    waves, time = times.Fourier(scale=2.0), jnp.linspace(0, 1, 5)
    params = waves.init(jax.random.key(0), time, 400)
    gradient = jax.grad(lambda p: jnp.sum(waves.apply(p, time, 400)))(params)
    assert not np.any(gradient["params"]["frequencies"])
    # 200 draws: the standard deviation is known to a twentieth.
    assert np.std(params["params"]["frequencies"]) == pytest.approx(4 * np.pi, rel=0.2)


def test_dropout_belongs_to_the_example_and_the_place():
    """Catches one mask for all, a mask that the batch size changes, a missing 1 / (1 - rate)."""

    class Two(nn.Module):
        @nn.compact
        def __call__(self, x, keys):
            return layers.Dropout(0.25, name="a")(x, keys), layers.Dropout(0.25, name="b")(x, keys)

    x, keys = jnp.ones((4, 32, 32)), jax.random.split(jax.random.key(0), 4)
    first, second = Two().apply({}, x, keys)
    close(Two().apply({}, x[1:3], keys[1:3]), (first[1:3], second[1:3]), 0)
    assert np.mean(first) == pytest.approx(1, abs=0.05)
    assert set(np.unique(first)) == {0, np.float32(4 / 3)}
    for one, other in itertools.combinations([*first, *second], 2):
        assert np.mean(one == other) == pytest.approx(0.75**2 + 0.25**2, abs=0.1)
    close(Two().apply({}, x, None), (x, x), 0)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_rate_out_of_range(rate):
    with pytest.raises(ValueError, match=f"dropout={rate}"):
        layers.Dropout(rate).apply({}, jnp.ones((1, 2)), None)


def test_attention_starts_as_identity_and_mixes_places_by_head(one_device):
    """Written out in numpy; catches a wrong split into heads, scale, or axis of the softmax."""
    module = attention.SelfAttention(head_channels=4, num_groups=2, skip_scale=0.5)
    x = jax.random.normal(jax.random.key(0), (2, 2, 3, 8))
    params = jax.jit(module.init)(jax.random.key(1), x)
    apply = jax.jit(module.apply)
    close(apply(params, x), 0.5 * x, 1e-6)

    params["params"]["out"]["kernel"] = jnp.eye(8)
    p = params["params"]
    norm = np.array(layers.GroupNorm(2).apply({"params": p["norm"]}, x)).reshape(2, 6, 8)
    q, k, v = (norm @ np.array(p[name]["kernel"]) for name in ("query", "key", "value"))
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weight = np.exp(q[..., part] @ k[..., part].swapaxes(1, 2) / 2)
        heads.append(weight / weight.sum(-1, keepdims=True) @ v[..., part])
    expected = 0.5 * (x + np.concatenate(heads, -1).reshape(x.shape))
    close(apply(params, x), expected, 1e-4)


@pytest.mark.parametrize(
    ("heads", "width", "name"), [(3, None, "num_heads=3"), (1, 5, "head_channels=5")]
)
def test_heads_that_do_not_divide_the_width(heads, width, name):
    with pytest.raises(ValueError, match=rf"{name} does not divide the 8 channels"):
        attention.num_heads(8, heads, width)


def test_resampling():
    """Catches transposed axes in the reshapes, which a square image of one colour would hide."""
    x = jnp.arange(2 * 4 * 6, dtype=jnp.float32).reshape(1, 4, 6, 2)
    pooled = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    close(resampling.average_pool(x), pooled)
    close(resampling.nearest(x), jnp.repeat(jnp.repeat(x, 2, 1), 2, 2))
    for padding in ((1, 1), (0, 1)):
        down = resampling.Downsample(padding)
        params = down.init(jax.random.key(0), x)
        expected = plain(x, params["params"]["conv"]["kernel"], 2, (padding, padding))
        close(down.apply(params, x), expected)
    assert resampling.Upsample().init_with_output(jax.random.key(0), x)[0].shape == (1, 8, 12, 2)


@pytest.mark.parametrize(
    "make", [lambda: layers.Conv(4, dtype=jnp.bfloat16), lambda: layers.Dense(4, dtype="bfloat16")]
)
def test_compute_type_is_not_the_parameters_type(make):
    y, params = make().init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
    assert y.dtype == jnp.bfloat16
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype("float32")}
