"""Words of one's own in prompts."""

import numpy as np
import pytest

from tests.support.released import save_tensors

pytest.importorskip("tokenizers")


def test_a_word_of_two_vectors_reads_as_the_words_whose_vectors_they_are(pipeline, tmp_path):
    """Fails if an id is off by one, text around the word is lost, or a vector is another's."""
    text, params = pipeline.parts.text, pipeline.weights["text"]
    ids = text.tokens(["red cat"]).ids[0, 0, 1:3]
    vectors = np.asarray(params["network"]["words"]["embedding"])[ids]
    save_tensors({"<mine>": vectors}, tmp_path / "a.safetensors")
    save_tensors({"emb_params": vectors[0]}, tmp_path / "bright.safetensors")
    changed = pipeline.with_embedding(tmp_path / "a.safetensors")
    changed = changed.with_embedding(tmp_path / "bright.safetensors")
    size = text.settings.vocabulary
    found = changed.parts.text.tokens(["a <mine> dog", "a bright cat"]).ids[:, 0]
    assert found[0, 2:4].tolist() == [size, size + 1]
    assert found[1, 2] == size + 2
    assert (changed.parts.text.tokens(["brighter"]).ids < size).all()
    new = changed.encode_prompts(2, {"text": ["a <mine> dog", "a bright cat"]})
    old = pipeline.encode_prompts(2, {"text": ["a red cat dog", "a red cat"]})
    np.testing.assert_allclose(new["text"].value, old["text"].value, atol=1e-5)


def test_what_is_of_another_model_is_named(pipeline, tmp_path):
    file = tmp_path / "a.safetensors"
    save_tensors({"<x>": np.zeros((1, 768), np.float32)}, file)
    with pytest.raises(ValueError, match=r"width 768, of Stable Diffusion 1; .* have 12"):
        pipeline.with_embedding(file)
    save_tensors({"clip_l": np.zeros((1, 768)), "clip_g": np.zeros((1, 1280))}, file)
    with pytest.raises(ValueError, match=r"has vectors \['clip_g', 'clip_l'\]: it is of SDXL"):
        pipeline.with_embedding(file)
    save_tensors({"a": np.zeros(12, np.float32), "b": np.zeros(12, np.float32)}, file)
    with pytest.raises(ValueError, match=r"has keys \['a', 'b'\]: textual inversion has one"):
        pipeline.with_embedding(file)
    save_tensors({"<x>": np.zeros(12, np.float32)}, file)
    with pytest.raises(ValueError, match="there is a word '<x>' already"):
        pipeline.with_embedding(file).with_embedding(file)
