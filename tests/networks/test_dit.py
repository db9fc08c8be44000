"""Diffusion transformers: positions, patches, streams, registers, frames, packing, settings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks import dit
from jaxdiff.networks.attention import Attention, MultiHead, rotate
from jaxdiff.networks.dit.blocks import Block, BlockInputs
from jaxdiff.networks.dit.patches import from_patches, to_patches
from jaxdiff.networks.inputs import Inputs
from jaxdiff.typing import Condition

RNG = np.random.default_rng(0)
DRAW = lambda *shape: RNG.standard_normal(shape).astype(np.float32)
TIME = np.array([3.0, 700.0], np.float32)
TEXT = Inputs(text_features=5)
TINY = {"features": 8, "depth": 2, "num_heads": 2, "mlp_features": 12, "time_features": 4}


def variables(network, *inputs):
    """Returns parameters from a seeded generator, none of them zero."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: (0.4 * rng.standard_normal(leaf.shape)).astype(np.float32), shapes
    )


def run(network, params, *inputs):
    return np.asarray(jax.jit(network.apply)(params, *inputs))


def test_patches_are_the_clip():
    """Catches rows and columns in the other order, and a clip put together otherwise than taken."""
    x = np.arange(2 * 4 * 6 * 8 * 3, dtype=np.float32).reshape(2, 4, 6, 8, 3)
    patches, grid = to_patches(x, (2, 3, 4))
    assert grid == (2, 2, 2)
    np.testing.assert_array_equal(patches[1, 6], x[1, 2:4, 3:6, :4].reshape(-1))
    np.testing.assert_array_equal(from_patches(patches, grid, (2, 3, 4)), x)


def test_sinusoids_are_peebles_and_xie_s():
    """Catches rows for columns, sines for cosines, and other frequencies."""
    places = np.array([[0, 2.0, 5.0], [3, 2.0, 5.0]], np.float32)
    found = np.asarray(dit.SinCosPositions().added(places, 8))
    wave = lambda place: [f(place / d) for f in (np.sin, np.cos) for d in (1, 100)]
    np.testing.assert_allclose(found[0], [*wave(5), *wave(2)], atol=1e-6)
    angles = 3 / 10000 ** (np.arange(4) / 4)
    expected = np.concatenate([np.sin(angles), np.cos(angles) - 1])
    np.testing.assert_allclose(found[1] - found[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("places", "row", "column"),
    [
        (dit.SpacedGrid(), [0, 1], [0, 1, 2, 3]),
        (dit.SpacedGrid(spacing=0.5), [0, 0.5], [0, 0.5, 1, 1.5]),
        (dit.StretchedGrid(extent=6.0), [0, 3], [0, 1.5, 3, 4.5]),
        (dit.CentredGrid(extent=4.0, most=8), [1.5, 2], [1, 1.5, 2, 2.5]),
    ],
)
def test_places_of_other_sizes(places, row, column):
    """Catches an extent over the wrong axis, and a centre that moves with the size."""
    found = places((2, 2, 4)).reshape(2, 2, 4, 3)
    np.testing.assert_allclose(found[1, :, 0, 0], 1)
    np.testing.assert_allclose(found[0, :, 0, 1], row)
    np.testing.assert_allclose(found[0, 0, :, 2], column)


def test_rotated_attention_sees_differences_of_places_only():
    """Catches an angle that is not linear in the place, and pairs of channels out of step."""
    rotary, query, key = dit.Rotary(), *jnp.array(DRAW(2, 1, 1, 1, 12))

    def product(here, there):
        at = lambda place: rotary.rotation(np.array([[place]], np.float32), 12)
        return float((rotate(query, at(here)) * rotate(key, at(there))).sum())

    moved = product((4, 1, 7), (1, 6, 5))
    np.testing.assert_allclose(moved, product((13, 5, 2), (10, 10, 0)), atol=1e-4)
    assert abs(moved - product((4, 1, 7), (1, 6, 6))) > 1e-3
    assert abs(moved - product((4, 1, 7), (1, 7, 5))) > 1e-3
    assert abs(moved - product((4, 1, 7), (2, 6, 5))) > 1e-3


def test_the_shares_of_frames_rows_and_columns():
    """Catches what is left over of a third given to another axis, and other frequencies."""
    angles = dit.Rotary().rotation(np.array([[1.0, 10, 100]], np.float32), 16)[0]
    frame = 1 / 10000 ** (np.arange(4) / 4)
    np.testing.assert_allclose(angles, [*frame, 10, 0.1, 100, 1], rtol=1e-5)


def test_a_fresh_network_adds_nothing():
    """Catches a gate, a text or an output that is not zero at first."""
    network = dit.DiT(**TINY, inputs=Inputs(num_classes=3, text_features=5), registers=2)
    x, cond = DRAW(2, 4, 4, 3), {"label": np.array([0, 2]), "text": DRAW(2, 3, 5)}
    fresh = jax.jit(network.init)(jax.random.key(0, impl="unsafe_rbg"), x, TIME, cond)
    params = fresh["params"]
    assert not np.any(run(network, fresh, x, TIME, cond))
    # Past a gate that is open, the text is still nothing, and the patches come out as they are.
    params["out"]["kernel"] = jnp.ones_like(params["out"]["kernel"])
    with_text = run(network, fresh, x, TIME, cond)
    other = run(network, fresh, x, TIME, cond | {"text": -cond["text"]})
    assert np.any(with_text)
    np.testing.assert_array_equal(with_text, other)


@pytest.fixture(scope="module")
def clips():
    """A factored network, its weights, a clip, and what it makes of it."""
    network = dit.DiT(**TINY, factored=True, positions=dit.Rotary())
    x = DRAW(2, 3, 4, 6, 2)
    params = variables(network, x, TIME, {})
    return network, params, x, run(network, params, x, TIME, {})


def test_a_clip_of_one_frame_is_an_image(clips):
    """Catches a frame axis that is lost or doubled."""
    network, params, x, _ = clips
    image = run(network, params, x[:, 0], TIME, {})
    np.testing.assert_array_equal(run(network, params, x[:, :1], TIME, {})[:, 0], image)


def test_weights_of_images_serve_clips(clips):
    """Catches parts across frames that change something at first."""
    network, params, x, _ = clips
    blocks = dict(params["params"]["blocks"])
    blocks["modulation_time"] = jax.tree.map(jnp.zeros_like, blocks["modulation_time"])
    fresh = {"params": {**params["params"], "blocks": blocks}}
    found = run(network, fresh, x, TIME, {})
    for i in range(3):
        np.testing.assert_allclose(found[:, i], run(network, fresh, x[:, i], TIME, {}), atol=1e-5)


def test_frames_are_heard_at_their_own_place(clips):
    """One layer: catches attention over the wrong axis, and frames shuffled on the way."""
    network, params, x, _ = clips
    network = network.clone(depth=1)
    first = jax.tree.map(lambda leaf: leaf[:1], params["params"]["blocks"])
    # Only the attention across frames is left.
    first["modulation"] = jax.tree.map(jnp.zeros_like, first["modulation"])
    params = {"params": {**params["params"], "blocks": first}}
    changed = x.copy()
    changed[:, 2, 2:4, 4:6] += 1
    difference = run(network, params, changed, TIME, {}) - run(network, params, x, TIME, {})
    heard = np.abs(difference).max((0, 4)) > 1e-4
    assert heard[:, 2:4, 4:6].all()
    assert heard.sum() == 3 * 2 * 2


def test_places_of_one_content_are_as_one_place(clips):
    """Catches angles across frames that are those of places, and a mean over other tokens."""
    network, params, x, _ = clips
    one = x[:, :, :2, :2]
    many = np.tile(one, (1, 1, 2, 3, 1))
    expected = np.tile(run(network, params, one, TIME, {}), (1, 1, 2, 3, 1))
    np.testing.assert_allclose(run(network, params, many, TIME, {}), expected, atol=1e-5)


def test_a_time_for_each_frame(clips):
    """Catches times that reach other frames, and one time that is not the same as equal ones."""
    network, params, x, expected = clips
    same = np.repeat(TIME[:, None], 3, axis=1)
    np.testing.assert_allclose(run(network, params, x, same, {}), expected, atol=1e-5)
    alone = network.clone(factored=False, depth=1)
    first = jax.tree.map(lambda leaf: leaf[:1], params["params"]["blocks"])
    first = {name: first[name] for name in ("self", "modulation", "mlp")}
    first["self"] = jax.tree.map(jnp.zeros_like, first["self"])
    params = {"params": {**params["params"], "blocks": first}}
    other = same.copy()
    other[:, 1] = 50
    one, two = (run(alone, params, x, time, {}) for time in (same, other))
    np.testing.assert_array_equal(np.abs(one - two).max((0, 2, 3, 4)) > 1e-3, [False, True, False])


@pytest.mark.parametrize(
    "positions", [dit.Rotary(), pytest.param(dit.SinCosPositions(), marks=pytest.mark.slow)]
)
def test_packed_clips_are_as_alone(positions):
    """Catches tokens that see other clips, and places, times, labels or text of another clip."""
    patch, length = (1, 2, 2), 12
    network = dit.DiT(
        **TINY, positions=positions, inputs=Inputs(num_classes=4, text_features=5), patch=patch
    )
    clips = [DRAW(1, 4, 4, 3), DRAW(2, 4, 6, 3), DRAW(1, 6, 4, 3), DRAW(3, 2, 4, 3)]
    time = np.array([3.0, 700.0, 40.0, 150.0], np.float32)
    mask = np.arange(4) < np.array([[4], [2], [3], [1]])
    cond = {"label": np.arange(4), "text": Condition(DRAW(4, 4, 5), mask)}
    slots, rows = dit.plan([clip.shape[:3] for clip in clips], patch, length)
    assert rows == 3
    packed = dit.pack(clips, slots, rows, length, patch, positions.places)
    placed = lambda values: dit.in_slots(values, slots, rows, 2)
    params = variables(network, clips[0][None], time[:1], jax.tree.map(lambda a: a[:1], cond))
    out = run(network, params, packed, placed(time), jax.tree.map(placed, cond))
    for i, found in enumerate(dit.unpack(out, slots, patch)):
        one = jax.tree.map(lambda a, i=i: a[i : i + 1], cond)
        alone = run(network, params, clips[i][None], time[i : i + 1], one)[0]
        np.testing.assert_allclose(found, alone, atol=1e-5)


def test_registers_take_part_and_are_left_out():
    """Catches registers that are cut off at the wrong end, or that nobody hears."""
    network = dit.DiT(**TINY, registers=3, positions=dit.Rotary())
    x = DRAW(2, 4, 4, 3)
    params = variables(network, x, TIME, {})["params"]
    plain = run(network, {"params": params}, x, TIME, {})
    other = {**params, "registers": params["registers"] + DRAW(3, 8)}
    assert np.abs(run(network, {"params": other}, x, TIME, {}) - plain).max() > 1e-3
    # Behind closed gates nobody hears anybody.
    blocks = params["blocks"]
    closed = {**blocks, "modulation": jax.tree.map(jnp.zeros_like, blocks["modulation"])}
    params = {**params, "blocks": closed}
    expected = run(network.clone(registers=0), {"params": params}, x, TIME, {})
    np.testing.assert_allclose(run(network, {"params": params}, x, TIME, {}), expected, atol=1e-6)


@pytest.mark.parametrize("network", [dit.DiT, pytest.param(dit.MMDiT, marks=pytest.mark.slow)])
def test_remat_and_unrolling_change_no_number(network):
    """Catches layers in another order, and a gradient that is another's."""
    options = {**TINY, "depth": 3, "inputs": TEXT}
    x, cond = DRAW(2, 4, 4, 3), {"text": DRAW(2, 3, 5)}
    plain = network(**options)
    params = variables(plain, x, TIME, cond)

    def gradient(other):
        loss = lambda params, *inputs: jnp.square(other.apply(params, *inputs)).mean()
        return jax.jit(jax.grad(loss))(params, x, TIME, cond)

    expected = gradient(plain)
    found = gradient(plain.clone(remat="dots_saveable", unroll=3))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), found, expected
    )


def test_dropout_differs_by_layer():
    """Catches one mask for all layers, which a scan would make of keys by name."""
    keys = jax.random.split(jax.random.key(0), 1)
    block = Block(num_heads=2, hidden=4, dropout=0.5)
    told = BlockInputs(jnp.zeros((1, 1, 8)), dropout_keys=keys)
    x, layer = jnp.zeros((1, 6, 8)), jnp.asarray(0)
    params = jax.tree.map(jnp.zeros_like, variables(block, x, layer, told))["params"]
    # What is left is the bias of the perceptron's way out, where it is kept.
    params["modulation"]["vector"]["bias"] = jnp.ones(48)
    params["mlp"]["out"]["bias"] = jnp.ones(8)
    apply = jax.jit(lambda layer: block.apply({"params": params}, x, layer, told)[0])
    one, two = apply(layer), apply(layer + 1)
    np.testing.assert_array_equal(np.unique(one), [0, 2])
    assert np.any(one != two)


def test_a_text_s_mask_and_order():
    """In both kinds of networks: catches masked tokens that count, and keys of other values."""
    x, text = DRAW(2, 4, 4, 3), DRAW(2, 3, 5)
    mask = np.array([[True, True, False], [True, True, True]])
    for network in (dit.DiT(**TINY, inputs=TEXT), dit.MMDiT(**TINY, inputs=TEXT)):
        cond = {"text": Condition(text, mask)}
        params = variables(network, x, TIME, cond)
        apply = jax.jit(network.apply)
        plain = apply(params, x, TIME, cond)
        other = text.copy()
        other[:, 2] += 1
        found = apply(params, x, TIME, {"text": Condition(other, mask)})
        np.testing.assert_allclose(found[0], plain[0], atol=1e-5)
        assert np.abs(found[1] - plain[1]).max() > 1e-3
        turned = jax.tree.map(lambda a: a[:, ::-1].copy(), cond)
        np.testing.assert_allclose(apply(params, x, TIME, turned), plain, atol=1e-4)
        whole = apply(params, x, TIME, {"text": Condition(text, np.ones((2, 3), bool))})
        np.testing.assert_allclose(whole[1], plain[1], atol=1e-5)
        np.testing.assert_allclose(whole, apply(params, x, TIME, {"text": text}), atol=1e-5)


def test_places_are_relative_in_both_streams():
    """Among the image's tokens: catches a key, or a query, that is not turned."""
    moved = lambda grid: dit.SpacedGrid()(grid) + np.array([3, 2, 7], np.float32)
    near, far = (dit.Rotary(places) for places in (dit.SpacedGrid(), moved))
    network = dit.MMDiT(**TINY, inputs=TEXT, positions=near)
    x, cond = DRAW(2, 4, 4, 3), {"text": Condition(DRAW(2, 3, 5), np.zeros((2, 3), bool))}
    params = variables(network, x, TIME, cond)
    found = run(network.clone(positions=far), params, x, TIME, cond)
    np.testing.assert_allclose(found, run(network, params, x, TIME, cond), atol=1e-5)


def test_normalized_queries_do_not_feel_their_scale():
    """Catches a norm over the wrong axis: by head, heads do not feel each other either."""
    x = DRAW(1, 5, 8)
    for qk_norm in ("head", "all"):
        module = Attention(MultiHead(num_heads=2, use_bias=False, qk_norm=qk_norm))
        params = variables(module, x, x)
        plain = run(module, params, x, x)
        scaled = jax.tree.map(lambda leaf: leaf, params)
        factor = np.repeat([5.0, 0.2] if qk_norm == "head" else [5.0, 5.0], 4)
        scaled["params"]["query"]["kernel"] = params["params"]["query"]["kernel"] * factor
        np.testing.assert_allclose(run(module, scaled, x, x), plain, atol=1e-4)
