"""Words of one's own in prompts."""

import numpy as np
import pytest

from jaxdiff.conditioning.encoders import SDXL, TextEncoder
from jaxdiff.networks.text.clip import CLIPTextSettings
from jaxdiff.pipelines.embeddings import save_word, with_word
from jaxdiff.pretrained import open_tensors
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


def test_a_word_of_two_encoders_is_written_as_it_is_read(tmp_path):
    """Fails if the encoders change places, or vectors of another word are written."""
    of_width = lambda n: TextEncoder(CLIPTextSettings(9, 5, n, 1, 1, n), tokenizer="nowhere")
    text = SDXL(of_width(4), of_width(6))
    table = lambda n: {"words": {"embedding": np.zeros((9, n), np.float32)}}
    params = {"network": {"clip_l": table(4), "bigg": table(6)}}
    draw = np.random.default_rng(0)
    vectors = {
        word: {"clip_l": draw.normal(size=(2, 4)), "clip_g": draw.normal(size=(2, 6))}
        for word in ("one", "two")
    }
    for word, tensors in vectors.items():
        save_tensors(tensors, tmp_path / f"{word}.safetensors")
        text, params = with_word(text, params, tmp_path / f"{word}.safetensors", None)
    assert dict(text.clip_l.words) == dict(text.bigg.words) == {"one": 2, "two": 2}
    save_word(text, params, tmp_path / "again.safetensors", "two")
    found = open_tensors(tmp_path / "again.safetensors")
    assert set(found) == {"clip_l", "clip_g"}
    for key, value in vectors["two"].items():
        np.testing.assert_allclose(np.asarray(found[key]), value, rtol=1e-6)
    with pytest.raises(ValueError, match="word='three': the encoder has one, two"):
        save_word(text, params, tmp_path / "again.safetensors", "three")
