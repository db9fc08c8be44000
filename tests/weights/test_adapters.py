"""Adapters: no change at first, the stated arithmetic after, gradients, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks.dit import DiT
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.unet import UNet
from jaxdiff.trees import leaf_names
from jaxdiff.typing import Condition
from jaxdiff.weights import adapters
from jaxdiff.weights.adapters import Difference, DoRA, LoHa, LoKr, LoRA

SHAPES = {
    "self": {"query": {"kernel": (12, 8), "bias": (8,)}, "out": {"kernel": (8, 6)}},
    "blocks": {"text": {"value": {"kernel": (3, 6, 10)}}},
    "conv_in": {"kernel": (3, 3, 4, 6)},
}
EVERY = r"kernel$"
TEXT = Inputs(text_features=6)
KINDS = {
    "LoRA": LoRA(modules=EVERY, alpha=8.0),
    "DoRA": DoRA(modules=EVERY),
    "LoHa": LoHa(modules=EVERY),
    "LoKr": LoKr(modules=EVERY, rank=2),
    "Difference": Difference(modules=EVERY),
}


def is_shape(value):
    return isinstance(value, tuple)


@pytest.fixture(scope="module")
def base():
    draw = np.random.default_rng(0)
    values = jax.tree.map(
        lambda shape: jnp.asarray(draw.normal(size=shape)), SHAPES, is_leaf=is_shape
    )
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), values)


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def random_factors(adapter, base):
    first = adapter.init(jax.random.key(0), shapes(base))
    draw = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape)), first)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_begins_as_no_change_and_then_changes_its_kernels_alone(kind, base):
    """Fails if the first samples are not the base's, or other arrays or types change."""
    adapter = KINDS[kind]
    first = adapter.init(jax.random.key(0), shapes(base))
    jax.tree.map(np.testing.assert_array_equal, adapter.apply(base, first), base)
    changed = adapter.apply(base, random_factors(adapter, base))
    assert shapes(changed) == shapes(base)
    moved = jax.tree_util.tree_map_with_path(
        lambda path, a, b: bool(np.any(a != b)) == ("kernel" in jax.tree_util.keystr(path)),
        changed,
        base,
    )
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_gradient_moves_the_factors_and_the_second_all_of_them(kind, base):
    """Fails if an adapter begins where its gradient is zero for good."""
    adapter, first = KINDS[kind], None
    factors = adapter.init(jax.random.key(0), shapes(base))
    loss = lambda f: sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(adapter.apply(base, f)))
    for _ in range(2):
        gradient = jax.jit(jax.grad(loss))(factors)
        first = gradient if first is None else first
        factors = jax.tree.map(lambda f, g: f - 0.1 * g, factors, gradient)
    at = lambda tree, path: tree["self"]["query"]["kernel"][path]
    last = {"LoRA": "up", "DoRA": "up", "LoHa": "up_1", "LoKr": "up", "Difference": "change"}[kind]
    assert np.any(at(first, last))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_each_kind_is_its_equation(base):
    """Fails if a scale, a product or a norm is another; the references are written out."""
    kernel = np.asarray(base["self"]["query"]["kernel"], np.float64)
    found = {}
    for kind, adapter in KINDS.items():
        factors = random_factors(adapter, base)
        changed = adapter.apply(base, factors)["self"]["query"]["kernel"]
        one = factors["self"]["query"]["kernel"]
        found[kind] = (np.asarray(changed), {k: np.asarray(v, np.float64) for k, v in one.items()})
    changed, f = found["LoRA"]
    np.testing.assert_allclose(changed, kernel + 8 / 4 * f["down"] @ f["up"], rtol=1e-5, atol=1e-5)
    changed, f = found["DoRA"]
    total = kernel + f["down"] @ f["up"]
    size = np.linalg.norm(kernel, axis=0) * (1 + f["gain"])
    wanted = size * total / np.linalg.norm(total, axis=0)
    np.testing.assert_allclose(changed, wanted, rtol=1e-5, atol=1e-5)
    changed, f = found["LoHa"]
    product = (f["down_0"] @ f["up_0"]) * (f["down_1"] @ f["up_1"])
    np.testing.assert_allclose(changed, kernel + product, rtol=1e-5, atol=1e-4)
    changed, f = found["LoKr"]
    wanted = kernel + np.kron(f["outer"], f["down"] @ f["up"])
    np.testing.assert_allclose(changed, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["LoRA", "DoRA", "LoHa", "LoKr"])
def test_layers_of_repeated_blocks_have_factors_of_their_own(kind, base):
    """Fails if layers share factors, or a stack is taken for a convolution."""
    adapter = KINDS[kind]
    factors = random_factors(adapter, base)["blocks"]["text"]["value"]["kernel"]
    tree = lambda kernel: {"blocks": {"text": {"value": {"kernel": kernel}}}}
    stack = base["blocks"]["text"]["value"]["kernel"]
    together = adapter.apply(tree(stack), tree(factors))
    for i, kernel in enumerate(stack):
        one = adapter.apply(tree(kernel), tree({name: f[i] for name, f in factors.items()}))
        wanted = together["blocks"]["text"]["value"]["kernel"][i]
        np.testing.assert_allclose(one["blocks"]["text"]["value"]["kernel"], wanted, rtol=1e-6)


def test_the_change_of_a_convolution_is_a_convolution_and_a_map_of_channels(base):
    """Fails if the taps of a kernel have maps of their own: files of LoCon could not hold them."""
    adapter = LoRA(modules="conv")
    factors = random_factors(adapter, base)
    x = jax.random.normal(jax.random.key(2), (1, 5, 5, 4))
    conv = lambda x, k: jax.lax.conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )
    one = factors["conv_in"]["kernel"]
    wanted = conv(x, base["conv_in"]["kernel"]) + conv(x, one["down"]) @ one["up"]
    found = conv(x, adapter.apply(base, factors)["conv_in"]["kernel"])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_what_an_adapter_cannot_change_is_named(base):
    """Fails if a pattern without a match trains nothing in silence."""
    for modules, message in (
        ("attention/", "matches none of the 4 kernels of 'network': "),
        ("(", "is no regular expression"),
        ("bias", r"matches self/query/bias, a vector"),
    ):
        with pytest.raises(ValueError, match=message):
            LoRA(modules=modules).init(jax.random.key(0), shapes(base))
    with pytest.raises(ValueError, match="rank"):
        LoRA(rank=0)
    assert set(adapters.__all__) == {"Adapter", *KINDS}


@pytest.mark.parametrize(
    ("network", "modules"),
    [
        (UNet(channels=(8,), layers_per_block=1, transformer_depth=(1,), inputs=TEXT), 4),
        (DiT(features=8, depth=2, num_heads=1, patch=(1, 2, 2), inputs=TEXT), 1),
    ],
)
def test_custom_diffusion_trains_keys_and_values_of_the_text_alone(network, modules):
    """Fails if queries, self-attention or another layer learn, or a layer's keys do not."""
    cond = {"text": Condition(jnp.zeros((1, 3, 6)))}
    init = lambda key: network.init(key, jnp.zeros((1, 4, 4, 3)), jnp.zeros(1), cond)["params"]
    base = jax.eval_shape(init, jax.random.key(0))
    factors = jax.eval_shape(Difference().init, jax.random.key(0), base)
    found = {name.removesuffix("/change") for name in leaf_names(factors)}
    kernels = {name for name in leaf_names(base) if name.endswith("kernel")}
    wanted = {n for n in kernels if n.split("/")[-3:-1] in (["text", "key"], ["text", "value"])}
    assert found == wanted
    assert len(found) == 2 * modules
