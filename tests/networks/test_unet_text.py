"""The U-Net's transformers, its conditions that are tokens or share a perceptron, its settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.condition import fields, fill
from jaxdiff.networks import released
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
    text_features=6,
    joint_vectors={"text_pooled": 3},
    joint_numbers={"size": 2},
    number_features=4,
)
TIME = jnp.array([10.0, 500.0, 900.0])
DRAW = np.random.default_rng(1)
X = jnp.asarray(DRAW.normal(size=(3, 4, 4, 3)), jnp.float32)
COND = {
    "text": DRAW.normal(size=(3, 5, 6)).astype("float32"),
    "text_mask": np.arange(5) < np.array([[5], [5], [3]]),
    "text_pooled": DRAW.normal(size=(3, 3)).astype("float32"),
    "size": np.array([[32.0, 8.0], [64.0, 0.0], [16.0, 4.0]], "float32"),
}
KEEP = {
    "text": np.array([True, False, True]),
    "text_pooled": np.array([True, True, False]),
    "size": np.array([False, True, True]),
}


to_jax = lambda tree: jax.tree.map(jnp.asarray, tree)


def given(fields, keep=KEEP):
    """The fields as conditions, the mask with its text, each with its own `keep`."""
    parts = {"text": ("text", "text_mask"), "text_pooled": ("text_pooled",), "size": ("size",)}
    return to_jax(
        {
            name: Condition({f: fields[f] for f in own if f in fields}, (keep or {}).get(name))
            for name, own in parts.items()
            if name in fields
        }
    )


def shapes(net, cond, keep=KEEP):
    cond = given(cond, keep)
    return jax.eval_shape(net.init, jax.random.key(0), X, TIME, cond)["params"]


def drawn(tree):
    draw = np.random.default_rng(0)
    around = lambda path: 1 if path[-1].key == "scale" else 0
    value = lambda path, a: around(path) + draw.normal(size=a.shape, scale=0.4).astype("float32")
    return jax.tree_util.tree_map_with_path(value, tree)


@pytest.fixture(scope="module")
def apply():
    params = to_jax(drawn(shapes(NET, {})))
    run = jax.jit(lambda cond: NET.apply({"params": params}, X, TIME, cond))
    return lambda cond, keep=KEEP: np.asarray(run(given(cond, keep)))


@pytest.fixture(scope="module")
def plain(apply):
    return apply(COND)


def other(name, *places):
    """Returns the conditions with other numbers at a place."""
    value = COND[name].copy()
    value[places] = -1.5 * value[places] + 1
    return COND | {name: value}


def differs(one, two):
    return [bool(np.abs(a - b).max() > 1e-3) for a, b in zip(one, two, strict=True)]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (other("text", slice(None), 1), [True, False, True]),
        (other("text", slice(None), 4), [True, False, False]),
        (other("text_pooled"), [True, True, False]),
        (other("size"), [False, True, True]),
    ],
    ids=["text", "text beyond the mask", "text_pooled", "size"],
)
def test_a_condition_counts_where_it_is_kept(apply, plain, changed, expected):
    """Catches a mask or a dropped condition that still counts, and one that never does."""
    assert differs(apply(changed), plain) == expected


def test_text_has_no_order(apply, plain):
    """Catches keys that are another token's than their values, and masks out of step."""
    turned = {name: COND[name][:, ::-1].copy() for name in ("text", "text_mask")}
    np.testing.assert_allclose(apply(COND | turned), plain, atol=1e-4)


def test_dropped_is_the_same_as_absent(apply):
    """Catches zeros, or the text of another, in place of the null embeddings."""
    none = dict.fromkeys(KEEP, np.zeros(3, bool))
    np.testing.assert_allclose(apply(COND, none), apply({}), atol=1e-4)


def test_a_fresh_transformer_changes_nothing():
    """Catches a branch that is not zero at the start, and a missing residual."""
    module = SpatialTransformer(num_heads=2)
    run = jax.jit(
        lambda key: module.init_with_output(key, X[..., :2], jnp.asarray(COND["text"]))[0]
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
        "text": np.zeros((1, 5, 6), "float32"),
        "text_mask": np.ones((1, 5), bool),
        "size": np.full((1, 2), 7.0, "float32"),
        "text_pooled": np.full((1, 3), 8.0, "float32"),
    }
    some = {name: value for name, value in COND.items() if name != "size"}
    filled, keep = fields(fill(given(some), given(empty, None), 3))
    assert set(filled) == set(empty)
    assert not keep
    kept = KEEP["text"]
    np.testing.assert_array_equal(filled["text"][kept], COND["text"][kept])
    assert not np.any(filled["text"][1])
    np.testing.assert_array_equal(filled["text_mask"].sum(1), [5, 5, 3])
    np.testing.assert_array_equal(filled["size"], np.full((3, 2), 7.0))
    np.testing.assert_array_equal(filled["text_pooled"][2], np.full(3, 8.0))
    with pytest.raises(ValueError, match=r"cond\['text'\] has shape \(3, 5, 6\).*\(3, 4, 6\)"):
        fill(given(COND), given({"text": jnp.zeros((1, 4, 6))}, None), 3)


SMALL = {"channels": (8, 16), "layers_per_block": 1}
TEXT = {**SMALL, "transformer_depth": (1, 0), "text_features": 6}


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
        ({**SMALL, "text_features": 6}, "text_features=6, but no transformer attends"),
        (
            {**TEXT, "text_features": 7},
            r"cond\['text'\] has shape \(3, 5, 6\); expected \[b, n, 7\]",
        ),
        ({**TEXT, "learned_null": False}, r"cond may drop 'text', but .* \(learned_null=False\)"),
        ({**SMALL, "joint_vectors": {"text_pooled": 4}}, r"cond\['text_pooled'\].*\[b, 4\]"),
        ({**SMALL, "joint_numbers": {"size": 6}}, r"cond\['size'\] has shape \(3, 2\).*\[b, 6\]"),
    ],
)
def test_errors_name_the_field(options, message):
    with pytest.raises(ValueError, match=message):
        shapes(UNet(**options), COND)


@pytest.mark.parametrize("mask", [np.ones((3, 4), bool), np.ones((3, 5))])
def test_a_mask_of_another_kind_is_an_error(mask):
    with pytest.raises(ValueError, match=r"cond\['text_mask'\] is .*; expected bool\[3, 5\]"):
        shapes(UNet(**TEXT), COND | {"text_mask": mask})


@pytest.mark.parametrize(
    "options", [TEXT, {**SMALL, "joint_vectors": {"text": 6}}, {**SMALL, "vectors": {"text": 6}}]
)
def test_without_a_null_embedding_a_condition_is_needed(options):
    """Catches a network that goes on without its text."""
    net = UNet(**options, learned_null=False)
    params = shapes(net, {})
    assert not [name for name in jax.tree_util.tree_leaves_with_path(params) if "null" in str(name)]
    run = lambda params: net.apply({"params": params}, X, TIME, {"label": TIME})
    with pytest.raises(ValueError, match=r"cond has no 'text', only label, .*learned_null=False"):
        jax.eval_shape(run, params)


def test_bfloat16():
    """Catches a layer that computes in float32, or keeps its parameters in bfloat16."""
    net = NET.clone(dtype=jnp.bfloat16)
    run = lambda key: net.init_with_output(key, X, TIME, given(COND))
    y, params = jax.eval_shape(run, jax.random.key(0))
    assert y.dtype == jnp.bfloat16
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_weights_go_and_come_back():
    """Catches a layout that is not its own inverse, in the transformers of Stable Diffusion 1."""
    table = unet2d(2, linear_projection=False)
    params = drawn(shapes(UNet(**TEXT, learned_null=False), {}))
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
        "text": jnp.zeros((1, 77, width)),
        "text_pooled": jnp.zeros((1, 1280)),
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
