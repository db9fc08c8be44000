"""ControlNets on released models: from files, bit for bit at first, and how they act."""

import jax
import numpy as np
import pytest

from jaxdiff.pipelines.controls import table_of
from jaxdiff.pretrained import open_tensors, to_ours, to_theirs
from jaxdiff.pretrained.files import write_tensors
from jaxdiff.pretrained.tables.control import original_controlnet
from jaxdiff.tasks.controls import Map
from tests.support.control import CONTROL, write_control

EDGES = np.random.default_rng(0).random((16, 16, 3)).astype(np.float32)
FEW = {"steps": 2, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    """The folder of a random ControlNet."""
    return write_control(tmp_path_factory.mktemp("control") / "net")


@pytest.fixture(scope="module")
def steered(pipeline, control):
    """The pipeline with it."""
    return pipeline.with_controlnet(control)


def test_a_fresh_controlnet_changes_no_bit(pipeline, steered):
    """Fails if the last maps are not zero at first, or a residual takes another way in."""
    zeroed = {
        name: jax.tree.map(np.zeros_like, tree) if name.startswith("zero_") else tree
        for name, tree in steered.weights["control_0"].items()
    }
    fresh = steered.with_weights(control_0=zeroed)
    base = pipeline.sample(2, "a cat", **FEW)
    np.testing.assert_array_equal(fresh.sample(2, "a cat", control=EDGES, **FEW), base)


def test_maps_steer_by_their_strength_in_their_steps(steered):
    """Fails if strength or the steps count for nothing, or another value of them compiles."""
    draw = lambda **options: steered.sample(2, "a cat", control=Map(EDGES, **options), **FEW)
    without = draw(strength=0.0)
    compiled = steered.parts.sampler()._program._cache_size()
    whole, half, first, last = draw(), draw(strength=0.5), draw(end=0.5), draw(start=0.5)
    for one, other in [(whole, without), (whole, half), (whole, first), (first, last)]:
        assert np.abs(one - other).max() > 1e-3
    other_map = steered.sample(2, "a dog", control=1 - EDGES, **FEW)
    assert np.abs(whole - other_map).max() > 1e-3
    assert steered.parts.sampler()._program._cache_size() == compiled


@pytest.mark.slow
def test_several_controlnets_add_up(steered, control):
    """Fails if one of two is lost: half and half of the same is the whole."""
    two = steered.with_controlnet(control)
    halves = two.sample(1, "a cat", control=[Map(EDGES, 0.5), Map(EDGES, 0.5)], **FEW)
    whole = steered.sample(1, "a cat", control=EDGES, **FEW)
    np.testing.assert_allclose(halves, whole, atol=2e-5)
    one = two.sample(1, "a cat", control=[None, EDGES], **FEW)
    np.testing.assert_allclose(one, whole, atol=2e-5)


def test_the_authors_layout(steered, control, pipeline, tmp_path):
    """Fails if a key of a `control_model.*` file is another array."""
    network = steered.parts.model.controls[0][1]
    depths = network.transformer_depth
    table = original_controlnet(depths, network.layers_per_block, 2, linear_projection=False)
    params = jax.tree.map(np.asarray, steered.weights["control_0"])
    theirs = to_theirs(table, params)
    assert {"input_hint_block.6.weight", "zero_convs.3.0.bias", "time_embed.0.weight"} <= {*theirs}
    file = tmp_path / "control.safetensors"
    write_tensors({f"control_model.{key}": value for key, value in theirs.items()}, file)
    again = pipeline.with_controlnet(file).weights["control_0"]
    jax.tree.map(np.testing.assert_array_equal, again, params)
    # A single file of diffusers' layout, without its config.
    bare = tmp_path / "bare.safetensors"
    tensors = {key: np.asarray(value) for key, value in open_tensors(control).items()}
    write_tensors(tensors, bare)
    again = pipeline.with_controlnet(bare).weights["control_0"]
    jax.tree.map(np.testing.assert_array_equal, again, params)
    found = to_ours(table_of(network, tensors), tensors, again)
    jax.tree.map(np.testing.assert_array_equal, found, again)


def test_bad_controls_are_named(steered, pipeline, folder, tmp_path):
    """Fails if a wrong map, or a file of something else, goes further than the call."""
    with pytest.raises(ValueError, match="no control network"):
        pipeline.sample(1, "a", control=EDGES)
    with pytest.raises(ValueError, match=r"shape \(8, 8, 3\); expected \(16, 16, 3\)"):
        steered.sample(1, "a", control=EDGES[:8, :8])
    with pytest.raises(ValueError, match=r"not \[0, 1\]"):
        steered.sample(1, "a", control=2 * EDGES)
    with pytest.raises(ValueError, match=r"start=0\.5 is not before end=0\.25"):
        Map(EDGES, start=0.5, end=0.25)
    with pytest.raises(ValueError, match="2 maps for 1 control networks"):
        steered.sample(1, "a", control=[EDGES, EDGES])
    with pytest.raises(ValueError, match="no ControlNet"):
        pipeline.with_controlnet(folder / "unet" / "diffusion_pytorch_model.safetensors")
    other = write_control(tmp_path / "wide", {**CONTROL, "block_out_channels": [8, 24]})
    with pytest.raises(ValueError, match=r"channels=\(8, 24\); this one has \(8, 16\)"):
        pipeline.with_controlnet(other)
