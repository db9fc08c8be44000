"""The U-Net's transformers, its conditions that are tokens or share a perceptron, its settings."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.condition import drop, fill
from jaxdiff.networks import released
from jaxdiff.networks.features import features_of
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.transformer import SpatialTransformer, TransformerBlock
from jaxdiff.networks.unet import UNet
from jaxdiff.pretrained import to_ours, to_theirs
from jaxdiff.pretrained.tables.unet import unet2d
from jaxdiff.typing import Condition

NET = UNet(
    channels=(8,),
    layers_per_block=1,
    transformer_depth=(1,),
    num_heads=(2,),
    inputs=Inputs(text_features=6, pooled_features=3, joint_numbers={"size": 2}, number_features=4),
)
TIME = jnp.array([10.0, 500.0, 900.0])
DRAW = np.random.default_rng(1)
X = jnp.asarray(DRAW.normal(size=(3, 4, 4, 3)), jnp.float32)
COND = {
    "text": Condition(
        value=DRAW.normal(size=(3, 5, 6)).astype("float32"),
        mask=np.arange(5) < np.array([[5], [5], [3]]),
        pooled=DRAW.normal(size=(3, 3)).astype("float32"),
        keep=np.array([True, False, True]),
    ),
    "size": Condition(
        np.array([[32.0, 8.0], [64.0, 0.0], [16.0, 4.0]], "float32"),
        keep=np.array([False, True, True]),
    ),
}


to_jax = lambda tree: jax.tree.map(jnp.asarray, tree)


def shapes(net, cond):
    return jax.eval_shape(net.init, jax.random.key(0), X, TIME, to_jax(cond))["params"]


def drawn(tree):
    draw = np.random.default_rng(0)
    around = lambda path: 1 if path[-1].key == "scale" else 0
    value = lambda path, a: around(path) + draw.normal(size=a.shape, scale=0.4).astype("float32")
    return jax.tree_util.tree_map_with_path(value, tree)


@pytest.fixture(scope="module")
def apply():
    params = to_jax(drawn(shapes(NET, {})))
    run = jax.jit(lambda cond: NET.apply({"params": params}, X, TIME, cond))
    return lambda cond: np.asarray(run(to_jax(cond)))


@pytest.fixture(scope="module")
def plain(apply):
    return apply(COND)


def other(name, *places, field="value"):
    """Returns the conditions with other numbers at a place of a field."""
    value = getattr(COND[name], field).copy()
    value[places] = -1.5 * value[places] + 1
    return COND | {name: replace(COND[name], **{field: value})}


def differs(one, two):
    return [bool(np.abs(a - b).max() > 1e-3) for a, b in zip(one, two, strict=True)]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (other("text", slice(None), 1), [True, False, True]),
        (other("text", slice(None), 4), [True, False, False]),
        (other("text", field="pooled"), [True, False, True]),
        (other("size"), [False, True, True]),
    ],
    ids=["text", "text beyond the mask", "pooled", "size"],
)
def test_a_condition_counts_where_it_is_kept(apply, plain, changed, expected):
    """Catches a mask or a dropped condition that still counts, and one that never does."""
    assert differs(apply(changed), plain) == expected


def test_text_has_no_order(apply, plain):
    """Catches keys that are another token's than their values, and masks out of step."""
    text = COND["text"]
    turned = replace(text, value=text.value[:, ::-1].copy(), mask=text.mask[:, ::-1].copy())
    np.testing.assert_allclose(apply(COND | {"text": turned}), plain, atol=1e-4)


def test_dropped_is_the_same_as_absent(apply):
    """Catches zeros, or the text of another, in place of the null embeddings."""
    np.testing.assert_allclose(apply(drop(COND)), apply({}), atol=1e-4)


def test_conditions_are_dropped_by_name(apply):
    """Fails if a name drops every condition, or none, or undoes what the caller dropped."""
    text, kept = drop(COND, ["size"])["text"], COND["text"].keep
    np.testing.assert_array_equal(text.keep, kept)
    without = {"text": COND["text"]}
    np.testing.assert_allclose(apply(drop(COND, ["size"])), apply(without), atol=1e-4)


def test_a_fresh_transformer_changes_nothing():
    """Catches a branch that is not zero at the start, and a missing residual."""
    module = SpatialTransformer(num_heads=2)
    run = jax.jit(
        lambda key: module.init_with_output(key, X[..., :2], jnp.asarray(COND["text"].value))[0]
    )
    np.testing.assert_array_equal(run(jax.random.key(0, impl="unsafe_rbg")), X[..., :2])


def with_identities(module, names, *args):
    """Returns parameters of which these kernels are the identity, scales 1, all else 0."""

    def value(path, leaf):
        name = "/".join(key.key for key in path)
        if name.endswith("scale"):
            return jnp.ones(leaf.shape)
        return jnp.eye(*leaf.shape) if name in names else jnp.zeros(leaf.shape)

    tree = jax.eval_shape(module.init, jax.random.key(0), *args)["params"]
    return {"params": jax.tree_util.tree_map_with_path(value, tree)}


def test_the_norms_are_those_of_the_released_weights():
    """Catches another eps, which other tests are too coarse for: var(x) = eps gives half of it."""
    signs = jnp.resize(jnp.array([1.0, -1.0]), (1, 2, 2, 4))
    module, x = SpatialTransformer(depth=0, num_heads=1, num_groups=2), 1e-3 * signs
    params = with_identities(module, ("in/kernel", "out/kernel"), x)
    np.testing.assert_allclose(jax.jit(module.apply)(params, x) - x, signs * 0.5**0.5, rtol=1e-3)
    # A single token attends to itself alone.
    module, x = TransformerBlock(num_heads=1), 1e-5**0.5 * signs[:, 0, :1]
    params = with_identities(module, ("self/value/kernel", "self/out/kernel"), x)
    expected = signs[:, 0, :1] * 0.5**0.5
    np.testing.assert_allclose(jax.jit(module.apply)(params, x) - x, expected, rtol=1e-3)


def test_fill():
    """Catches an inverted mask, a mask that stays behind its text, and marks that are left."""
    empty = {
        "text": Condition(np.zeros((1, 5, 6)), np.ones((1, 5), bool), np.full((1, 3), 8.0)),
        "size": np.full((1, 2), 7.0),
    }
    text = COND["text"]
    filled = fill({"text": text}, to_jax(empty), 3)
    assert set(filled) == set(empty)
    assert filled["text"].keep is None
    np.testing.assert_array_equal(filled["text"].value[text.keep], text.value[text.keep])
    assert not np.any(filled["text"].value[1])
    np.testing.assert_array_equal(filled["text"].mask.sum(1), [5, 5, 3])
    np.testing.assert_array_equal(filled["size"].value, np.full((3, 2), 7.0))
    np.testing.assert_array_equal(filled["text"].pooled[1], np.full(3, 8.0))
    with pytest.raises(ValueError, match=r"cond\['text'\] has .*\(3, 5, 6\).*\(3, 4, 6\)"):
        fill(COND, {"text": jnp.zeros((1, 4, 6))}, 3)


def test_a_text_without_a_mask_keeps_all_of_its_tokens_when_filled():
    """Fails if kept tokens get the mask of the empty prompt."""
    text = replace(COND["text"], mask=None)
    empty = Condition(jnp.zeros((1, 5, 6)), jnp.arange(5)[None] < 2, jnp.zeros((1, 3)))
    filled = fill({"text": text}, {"text": empty}, 3)["text"]
    assert filled.mask.sum(1).tolist() == [5, 2, 5]


SMALL = {"channels": (8, 16), "layers_per_block": 1}
TEXT = {**SMALL, "transformer_depth": (1, 0), "inputs": Inputs(text_features=6)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**TEXT, "num_heads": 3}, "num_heads=3 does not divide the 8"),
        ({**TEXT, "head_channels": (4, 3), "middle_depth": 1}, "head_channels=3 .* the 16"),
        (
            {**TEXT, "num_heads": (1, 2, 4)},
            r"num_heads=\(1, 2, 4\) must have one value for each of 2",
        ),
        (
            {**TEXT, "transformer_depth": (1,)},
            r"transformer_depth=\(1,\) must have one value for each",
        ),
        ({**TEXT, "attention_at": (4,)}, r"attention_at has 4, but transformer_depth=\(1, 0\)"),
        (
            {**SMALL, "inputs": Inputs(text_features=6)},
            "text_features=6, but no transformer attends",
        ),
        (
            {**TEXT, "inputs": Inputs(text_features=7)},
            r"cond\['text'\] has shape \(3, 5, 6\); expected \[b, n, 7\]",
        ),
        (
            {**TEXT, "inputs": Inputs(text_features=6, learned_null=False)},
            r"cond\['text'\].keep is given, but .* \(learned_null=False\)",
        ),
        ({**SMALL, "inputs": Inputs(pooled_features=4)}, r"cond\['text'\].pooled .*\[b, 4\]"),
        (
            {**SMALL, "inputs": Inputs(joint_numbers={"size": 6})},
            r"cond\['size'\] has shape \(3, 2\).*\[b, 6\]",
        ),
    ],
)
def test_errors_name_the_field(options, message):
    with pytest.raises(ValueError, match=message):
        shapes(UNet(**options), COND)


@pytest.mark.parametrize("mask", [np.ones((3, 4), bool), np.ones((3, 5))])
def test_a_mask_of_another_kind_is_an_error(mask):
    with pytest.raises(ValueError, match=r"cond\['text'\].mask is .*; expected bool\[3, 5\]"):
        shapes(UNet(**TEXT), COND | {"text": replace(COND["text"], mask=mask)})


@pytest.mark.parametrize(
    "options",
    [
        {"transformer_depth": (1, 0), "inputs": Inputs(text_features=6, learned_null=False)},
        {"inputs": Inputs(joint_vectors={"text": 6}, learned_null=False)},
        {"inputs": Inputs(vectors={"text": 6}, learned_null=False)},
    ],
)
def test_without_a_null_embedding_a_condition_is_needed(options):
    """Catches a network that goes on without its text."""
    net = UNet(**SMALL, **options)
    params = shapes(net, {})
    assert not [name for name in jax.tree_util.tree_leaves_with_path(params) if "null" in str(name)]
    run = lambda params: net.apply({"params": params}, X, TIME, {"label": TIME})
    with pytest.raises(ValueError, match=r"cond has no 'text', only label, .*learned_null=False"):
        jax.eval_shape(run, params)


def test_bfloat16():
    """Catches a layer that computes in float32, or keeps its parameters in bfloat16."""
    net = NET.clone(dtype=jnp.bfloat16)
    run = lambda key: net.init_with_output(key, X, TIME, to_jax(COND))
    y, params = jax.eval_shape(run, jax.random.key(0))
    assert y.dtype == jnp.bfloat16
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_weights_go_and_come_back():
    """Catches a layout that is not its own inverse, in the transformers of Stable Diffusion 1."""
    table = unet2d(2, linear_projection=False)
    params = drawn(
        shapes(UNet(**{**TEXT, "inputs": Inputs(text_features=6, learned_null=False)}), {})
    )
    tensors = to_theirs(table, params)
    assert tensors["down_blocks.0.attentions.0.proj_in.weight"].shape == (8, 8, 1, 1)
    jax.tree.map(np.testing.assert_array_equal, to_ours(table, tensors, params), params)


# The numbers of parameters and of tensors that the public checkpoints have.
PUBLISHED = {
    "stable_diffusion_15": (859_520_964, 686, 768, False),
    "stable_diffusion_2": (865_910_724, 686, 1024, True),
    "sdxl": (2_567_463_684, 1680, 2048, True),
}


@pytest.mark.parametrize(
    "name",
    [
        "stable_diffusion_15",
        pytest.param("stable_diffusion_2", marks=pytest.mark.slow),
        pytest.param("sdxl", marks=pytest.mark.slow),
    ],
)
def test_released(name):
    """Catches another width, depth or map, by the numbers of parameters; allocates nothing."""
    count, tensors, width, linear = PUBLISHED[name]
    net = getattr(released, name)()
    x, time = jnp.zeros((1, 16, 16, 4)), TIME[:1]
    cond = {
        "text": Condition(jnp.zeros((1, 77, width)), pooled=jnp.zeros((1, 1280))),
        "size": jnp.zeros((1, 6)),
    }
    y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x, time, cond)
    assert y.shape == x.shape
    params = variables["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    table = unet2d(len(net.channels), linear_projection=linear)
    theirs = jax.eval_shape(lambda tree: to_theirs(table, tree), params)
    assert len(theirs) == tensors
    key = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert theirs[key].shape == (1280, width)


def test_a_scan_over_the_blocks_changes_no_number_and_no_name():
    """Fails if blocks are in another order, or the gradient of one is another's, or lost."""
    net, text = SpatialTransformer(depth=4, num_heads=2), jnp.asarray(COND["text"].value[:2])
    x = jnp.asarray(DRAW.normal(size=(2, 2, 2, 8)), jnp.float32)
    make = lambda net: jax.eval_shape(net.init, jax.random.key(0), x, text)["params"]
    scanned = net.clone(unroll=1)
    assert make(scanned) == make(net)
    params = to_jax(drawn(make(net)))
    loss = lambda params, net: jnp.square(net.apply({"params": params}, x, text) - 1).mean()
    programs = [
        jax.jit(jax.value_and_grad(lambda params, net=net: loss(params, net))).lower(params)
        for net in (net, scanned)
    ]
    lines = [program.as_text().count("\n") for program in programs]
    assert lines[1] < 0.9 * lines[0]
    found, expected = (jax.tree.leaves(program.compile()(params)) for program in programs)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * np.abs(other).max() + 1e-6)


def test_outputs_of_blocks_are_captured_within_a_scan():
    """Fails if a discriminator finds other layers, or none, in a network that is scanned."""
    net, x = SpatialTransformer(depth=3, num_heads=2), jnp.ones((1, 2, 2, 8))
    params = drawn(jax.eval_shape(net.init, jax.random.key(0), x)["params"])
    read = lambda net: jax.jit(lambda p: features_of(net, p, ("block_1",), x)["block_1"])(params)
    np.testing.assert_allclose(read(net.clone(unroll=1)), read(net), rtol=1e-5)
