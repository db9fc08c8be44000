"""Diffusion transformers: what their settings may be, and the released ones' sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.networks import dit, released
from jaxdiff.networks.inputs import Inputs
from jaxdiff.typing import Condition

TIME = np.array([3.0, 700.0], np.float32)
TINY = {"features": 8, "depth": 2, "num_heads": 2, "time_features": 4}


@pytest.mark.parametrize(
    ("options", "shape", "time", "message"),
    [
        ({"num_heads": 3}, (2, 4, 4, 3), TIME, "num_heads=3 does not divide the 8 channels"),
        ({}, (2, 5, 4, 3), TIME, r"\(1, 5, 4\).*the nearest is 1 x 4 or 6 x 4"),
        ({"patch": (2, 2, 2)}, (2, 4, 4, 3), TIME, r"patches \(2, 2, 2\); the nearest is 2 x 4"),
        ({"patch": (2, 2)}, (2, 4, 4, 3), TIME, r"patch=\(2, 2\): three positive sizes"),
        ({"depth": 0}, (2, 4, 4, 3), TIME, r"DiT\.depth is 0; expected an integer from 1"),
        ({"remat": "all"}, (2, 4, 4, 3), TIME, "remat is 'all'; expected one of 'nothing_sav"),
        (
            {"qk_norm": "l2"},
            (2, 4, 4, 3),
            TIME,
            "qk_norm is 'l2'; expected one of 'head', 'all'",
        ),
        ({"features": 6}, (2, 4, 4, 3), TIME, "features=6 must be a multiple of 4"),
        ({"registers": 1, "factored": True}, (2, 2, 4, 4, 3), TIME, "registers=1 with factored"),
        ({"text_norm": True}, (2, 4, 4, 3), TIME, "text_norm=True needs inputs.text_features"),
        (
            {"inputs": Inputs(image_features=8)},
            (2, 4, 4, 3),
            TIME,
            "inputs.image_features=8 needs inputs.text_features",
        ),
        (
            {"positions": dit.Rotary(shares=(1, 1, 1))},
            (2, 4, 4, 3),
            TIME,
            r"shares=\(1, 1, 1\) of the pairs of a head of 4 channels",
        ),
        ({}, (2, 3, 4, 4, 3), np.ones((2, 2), np.float32), "a time for each frame needs"),
    ],
)
def test_bad_options_are_named(options, shape, time, message):
    with pytest.raises(ValueError, match=message):
        network = dit.DiT(**{**TINY, **options})
        jax.eval_shape(network.init, jax.random.key(0), np.zeros(shape, np.float32), time, {})


# DiT's published count, 675,129,632, has the 256 x 1152 positions in it, which are no parameters.
PUBLISHED = {
    "dit_xl": 675_129_632 - 256 * 1152,
    "pixart_alpha": 610_856_096,
    "sd3_medium": 2_028_328_000,
    "sd35_medium": 2_243_171_520,
    "wan_1_3b": 1_418_996_800,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_released_sizes(name):
    """Catches another width, depth, bias, norm or condition than the released weights have."""
    labels = {"inputs": Inputs(num_classes=1000), "out_channels": 8}
    options = labels if name == "dit_xl" else {}
    network = getattr(released, name)(**options)
    shape = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    x = shape(1, 8, 8, 16 if name in ("sd3_medium", "sd35_medium", "wan_1_3b") else 4)
    cond = {"text": Condition(shape(1, 2, 4096), pooled=shape(1, 2048))}
    tree = jax.eval_shape(network.init, jax.random.key(0), x, shape(1), cond)
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == PUBLISHED[name]


def test_a_clip_longer_than_a_row_is_named():
    with pytest.raises(ValueError, match="16 patches long: more than a row of length=12"):
        dit.plan([(1, 8, 8)], (1, 2, 2), 12)


def test_the_program_does_not_grow_with_depth():
    """Catches layers that are compiled one by one."""
    sizes = []
    for depth in (3, 12):
        network = dit.DiT(**{**TINY, "depth": depth})
        x = jnp.zeros((2, 4, 4, 3))
        params = jax.eval_shape(network.init, jax.random.key(0), x, TIME, {})
        loss = lambda params, network=network, x=x: network.apply(
            params, x, jnp.asarray(TIME), {}
        ).sum()
        sizes.append(len(jax.jit(jax.grad(loss)).lower(params).as_text()))
    assert sizes[1] < 1.02 * sizes[0]


def test_not_all_blocks_are_dual():
    """Fails if the last block, which ends the text, is taken for one of the first."""
    network = dit.MMDiT(8, 2, 2, dual_depth=2, inputs=Inputs(text_features=4))
    x, cond = (
        np.zeros((1, 4, 4, 2), np.float32),
        {"text": Condition(np.zeros((1, 2, 4), np.float32))},
    )
    with pytest.raises(ValueError, match="dual_depth=2 must be less than depth=2"):
        jax.eval_shape(network.init, jax.random.key(0), x, np.zeros(1, np.float32), cond)
