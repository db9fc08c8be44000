"""Tables: names, layouts, both directions, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.pretrained import to_ours, to_theirs
from jaxdiff.pretrained.layouts import (
    FLAT,
    FROM_HEADS,
    HEADS,
    ONE_IN_FRONT,
    POINTWISE_CONV,
    POINTWISE_LINEAR,
    ROWS,
    SWAPPED_KERNEL,
    patches,
)
from jaxdiff.pretrained.rules import (
    Rule,
    affine,
    embedding,
    norm,
    ours_only,
    rule,
    skip,
    tied,
    within,
)


def numbers(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


BLOCK = (*affine("dense", "fc"), *norm("norm", "ln"))
TABLE = (
    *within("layer_{i}", "h.{i}", BLOCK),
    *embedding("words", "wte"),
    *skip("*.position_ids"),
)
PARAMS = {
    f"layer_{i}": {
        "dense": {"kernel": i + numbers(2, 3), "bias": i + numbers(3)},
        "norm": {"scale": i + numbers(3)},
    }
    for i in (0, 1, 10)
} | {"words": {"embedding": numbers(5, 2)}}


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_names_and_numbers_go_both_ways():
    """Catches a rule of layer 1 that also takes layer 10, a kernel left as it is, a lost prefix."""
    theirs = to_theirs(TABLE, PARAMS)
    assert set(theirs) == {
        *(f"h.{i}.{name}" for i in (0, 1, 10) for name in ("fc.weight", "fc.bias", "ln.weight")),
        "wte.weight",
    }
    np.testing.assert_array_equal(theirs["h.10.fc.weight"], 10 + numbers(2, 3).T)
    extra = {**theirs, "h.0.position_ids": np.arange(3)}
    same(to_ours(TABLE, extra, PARAMS), PARAMS)


IMAGE, VIDEO = (4, 5, 2, 3), (6, 4, 5, 2, 3)
LAYOUTS = {
    "linear": (affine("a", "b"), (2, 3), lambda x: x.T),
    "conv": (affine("a", "b"), IMAGE, lambda x: np.einsum("hwio->oihw", x)),
    "conv3d": (affine("a", "b"), VIDEO, lambda x: np.einsum("dhwio->oidhw", x)),
    "pointwise conv": (
        affine("a", "b", POINTWISE_CONV),
        (2, 3),
        lambda x: np.einsum("io->oi", x)[:, :, None, None],
    ),
    "pointwise linear": (
        affine("a", "b", POINTWISE_LINEAR),
        (1, 1, 2, 3),
        lambda x: np.einsum("hwio->oi", x),
    ),
    # Head h, place d of the query is output row 3·h + d of PyTorch's matrix.
    "heads": (
        affine("a", "b", HEADS),
        (5, 2, 3),
        lambda x: np.stack([x[:, h, d] for h in range(2) for d in range(3)]),
    ),
    "from heads": (
        affine("a", "b", FROM_HEADS),
        (2, 3, 5),
        lambda x: np.stack([x[h, d] for h in range(2) for d in range(3)], axis=1),
    ),
    "flat": (affine("a", "b", FLAT), (2, 3), lambda x: x.ravel()),
    # Their convolution of 3x5 places steps by 3x5; our map takes them and 2 channels at once.
    "patches": (
        affine("a", "b", patches((3, 5))),
        (30, 4),
        lambda x: np.einsum("hwio->oihw", x.reshape(3, 5, 2, 4)),
    ),
    "swapped": (affine("a", "b", SWAPPED_KERNEL), (2, 6), lambda x: x.T[[3, 4, 5, 0, 1, 2]]),
    "in front": (affine("a", "b", ONE_IN_FRONT), (2, 3), lambda x: x[None]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name):
    """Catches any two axes exchanged (no two are of one length) and an inverse that is not one."""
    table, shape, expected = LAYOUTS[name]
    params = {"a": {"kernel": numbers(*shape)}}
    theirs = to_theirs(table, params)
    np.testing.assert_array_equal(theirs["b.weight"], expected(params["a"]["kernel"]))
    same(to_ours(table, theirs, params), params)


def test_fused_on_either_side():
    """Catches parts joined in another order or along the input axis, and equal cuts of unequal."""
    shapes = {"q": (2, 4), "k": (2, 3), "v": (2, 3)}
    params = {
        name: {"kernel": ord(name) + numbers(*shape), "bias": ord(name) + numbers(shape[1])}
        for name, shape in shapes.items()
    }
    table = affine(("q", "k", "v"), "qkv")
    theirs = to_theirs(table, params)
    expected = np.concatenate([params[name]["kernel"].T for name in "qkv"])
    np.testing.assert_array_equal(theirs["qkv.weight"], expected)
    assert set(theirs) == {"qkv.weight", "qkv.bias"}
    same(to_ours(table, theirs, params), params)

    ours = {"qkv": {"kernel": numbers(2, 6)}}
    apart = affine("qkv", ("q", "k", "v"))
    theirs = to_theirs(apart, ours)
    np.testing.assert_array_equal(theirs["k.weight"], ours["qkv"]["kernel"][:, 2:4].T)
    same(to_ours(apart, theirs, ours), ours)


def test_types_are_those_of_the_target():
    """Catches weights left in half precision, and a target of shapes that is not enough."""
    theirs = {k: v.astype(jnp.bfloat16) for k, v in to_theirs(TABLE, PARAMS).items()}
    target = jax.eval_shape(lambda: PARAMS)
    ours = to_ours(TABLE, theirs, target)
    assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {np.dtype("float32")}
    same(ours, PARAMS)


def test_shapes_need_no_numbers():
    """Catches a way to their layout that computes: shapes alone must do, and all is under jit."""
    shapes = jax.eval_shape(lambda: to_theirs(TABLE, PARAMS))
    assert shapes["h.0.fc.weight"].shape == (3, 2)


def test_what_is_ours_alone_stays():
    """Catches a value of the target that is dropped, and shapes taken for a value."""
    table = (*TABLE, *ours_only("temporal_*"))
    params = {**PARAMS, "temporal_3": {"kernel": 7 + numbers(2, 2)}}
    theirs = to_theirs(table, params)
    assert not any("temporal" in key for key in theirs)
    same(to_ours(table, theirs, params), params)
    with pytest.raises(ValueError, match=r"1 in no checkpoint.*arrays: temporal_3/kernel"):
        to_ours(table, theirs, jax.eval_shape(lambda: params))


def test_all_that_does_not_fit_is_in_one_message():
    """Catches a key that is passed over in silence: missing, of another shape, unused."""
    theirs = to_theirs(TABLE, PARAMS)
    del theirs["h.0.fc.bias"]
    theirs["h.1.fc.weight"] = numbers(7, 2)
    theirs |= {f"head.{i}": numbers(i + 1) for i in range(8)}
    with pytest.raises(ValueError, match="does not fit") as error:
        to_ours(TABLE, theirs, PARAMS, source="model.safetensors")
    said = str(error.value)
    assert said.startswith("model.safetensors does not fit")
    assert "1 missing from it: h.0.fc.bias (our layer_0/dense/bias)" in said
    assert "h.1.fc.weight is [7, 2], not [3, 2] (our layer_1/dense/kernel)" in said
    assert "8 unknown to the network: head.0 [1]" in said
    assert "and 3 more" in said


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"other": numbers(2)}, "1 not in the table: other"),
        ({"a": {"kernel": numbers(2, 2)}, "b": {"kernel": numbers(2, 2)}}, "is both"),
        ({"q": {"kernel": numbers(2, 2)}}, "k/kernel is missing beside q/kernel"),
    ],
)
def test_a_table_that_does_not_fit_our_tree(params, said):
    """Catches a name of ours that vanishes on the way out."""
    table = (*affine("a", "x"), *affine("b", "x"), *affine(("q", "k"), "qk"))
    with pytest.raises(ValueError, match=said):
        to_theirs(table, params)


STACKED = {"blocks": {"fc": {"kernel": numbers(11, 2, 3), "bias": numbers(11, 3)}}}


def test_layers_of_a_stack_are_theirs_one_by_one():
    """Catches layers in another order (10 before 2), and a layout with the stack's axis in it."""
    table = within("blocks[{i}]", "h.{i}", affine("fc", "fc"))
    theirs = to_theirs(table, STACKED)
    assert set(theirs) == {f"h.{i}.fc.{end}" for i in range(11) for end in ("weight", "bias")}
    kernel = STACKED["blocks"]["fc"]["kernel"]
    np.testing.assert_array_equal(theirs["h.10.fc.weight"], kernel[10].T)
    same(to_ours(table, theirs, STACKED), STACKED)
    same(to_ours(table, theirs, jax.eval_shape(lambda: STACKED)), STACKED)
    del theirs["h.3.fc.bias"]
    with pytest.raises(ValueError, match=r"h.3.fc.bias \(our blocks\[3\]/fc/bias\)"):
        to_ours(table, theirs, STACKED)


def test_copies_are_written_to_every_place_and_must_be_copies():
    """Catches parts where there should be copies, and numbers that are dropped in silence."""
    table = tied(rule(("words", "none"), "words.weight", ROWS), ["h.0", "h.1"])
    params = {"words": numbers(4, 3), "none": 100 + numbers(3)}
    theirs = to_theirs(table, params)
    for key in ("h.0.words.weight", "h.1.words.weight"):
        np.testing.assert_array_equal(theirs[key][4], params["none"])
    same(to_ours(table, theirs, params), params)
    theirs["h.1.words.weight"] = theirs["h.1.words.weight"] + 1
    with pytest.raises(ValueError, match=r"1 not copies of each other.*h.1.words.weight and h.0"):
        to_ours(table, theirs, params)


def test_unequal_cuts_are_refused():
    """Catches outputs that are lost where our weight does not divide."""
    with pytest.raises(ValueError, match="4 outputs do not divide into equal parts for q"):
        to_theirs(affine("qkv", ("q", "k", "v")), {"qkv": {"kernel": numbers(2, 4)}})


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("a_{i}", "b"), ("a_{i}", "b.{j}"), ("a_*", "b"), (("a", "b"), ("c", "d"))],
)
def test_rules_that_cannot_be_inverted(ours, theirs):
    """Catches a rule that loses a number, or that says not what goes where."""
    with pytest.raises(ValueError, match="same wildcards"):
        rule(ours, theirs)


def test_a_number_is_the_same_wherever_it_stands():
    """Catches a wildcard that matches two different numbers, and a name that is matched in part."""
    assert isinstance(rule("a_{i}/b_{i}", "c.{i}")[0], Rule)
    table = rule("a_{i}/b_{i}", "c.{i}")
    assert set(to_theirs(table, {"a_2": {"b_2": numbers(1)}})) == {"c.2"}
    with pytest.raises(ValueError, match="not in the table: a_2/b_2x"):
        to_theirs(rule("a_{i}/b_{i}", "c.{i}"), {"a_2": {"b_2x": numbers(1)}})
    with pytest.raises(ValueError, match="a_2/b_3"):
        to_theirs(table, {"a_2": {"b_3": numbers(1)}})


def test_layers_may_count_from_another_number():
    """Fails if a stack in the middle of a file is read from its beginning."""
    table = (
        *within("first[{i}]", "h.{i}", affine("dense", "fc")),
        *within("blocks[{i}]", "h.{i+2}", affine("dense", "fc")),
    )
    kernels = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
    params = {
        name: {"dense": {"kernel": k}}
        for name, k in zip(("first", "blocks"), (kernels[:2], kernels[2:]), strict=True)
    }
    theirs = to_theirs(table, params)
    assert sorted(theirs) == [f"h.{i}.fc.weight" for i in range(5)]
    for i in range(5):
        np.testing.assert_array_equal(theirs[f"h.{i}.fc.weight"], kernels[i].T)
    jax.tree.map(np.testing.assert_array_equal, to_ours(table, theirs, params), params)
