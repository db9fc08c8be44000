"""Prompts of a released model with weights, further windows, and changes on the way."""

import numpy as np
import pytest

FEW = {"steps": 2, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def reader(pipeline):
    """The pipeline that reads weights, in two windows."""
    return pipeline.with_prompts(emphasis=True, windows=2)


def test_weights_and_windows_reach_the_network(pipeline, reader):
    """Fails if a weight of 1 changes anything, or another counts for nothing, or compiles."""
    states = lambda each, text: np.asarray(each.encode_prompts(1, text)["text"].value)
    plain = states(pipeline, "a red cat")
    np.testing.assert_allclose(states(reader, "a (red:1.0) cat")[:, :16], plain, atol=1e-6)
    strong = states(reader, "a (red:1.5) cat")
    assert strong.shape == (1, 32, plain.shape[-1])
    assert np.abs(strong[:, :16] - plain).max() > 0.01
    np.testing.assert_allclose(strong[:, 16:], states(reader, "")[:, :16], atol=1e-6)
    broken = states(reader, "a BREAK red cat")
    np.testing.assert_allclose(broken[:, 16:], states(pipeline, "red cat"), atol=1e-6)
    with pytest.raises(ValueError, match="needs 3 windows"):
        reader.encode_prompts(1, "a BREAK b BREAK a")


def test_a_prompt_changes_on_the_way(reader):
    """Fails if the change comes at another step, or to another prompt."""
    draw = lambda text: reader.sample(1, text, **FEW)
    cat, dog, both = draw("a cat"), draw("a dog"), draw("a [cat:dog:0.5]")
    assert np.abs(both - cat).max() > 5e-5
    assert np.abs(both - dog).max() > 5e-5
    np.testing.assert_allclose(draw("a [cat:cat:0.5]"), cat, atol=1e-6)


def test_skipped_layers_change_no_weights(pipeline):
    """Fails if another layer is read, or the weights have to be read again."""
    skipped = pipeline.with_prompts(clip_skip=1)
    assert skipped.parts.text.settings.clip_skip == 1
    assert skipped.weights["text"]["network"] is pipeline.weights["text"]["network"]
    with pytest.raises(ValueError, match="clip_skip"):
        pipeline.with_prompts(clip_skip=5)
