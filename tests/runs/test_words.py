"""Textual inversion: a word is trained alone, written as a file, and read by the base."""

import jax
import numpy as np
import pytest

import jaxdiff
from jaxdiff import Experiment
from jaxdiff.conditioning.words import OwnWords, Words
from jaxdiff.pretrained import open_tensors
from jaxdiff.weights.devices import Devices, make_mesh
from tests.support.released import clip, write_encoder, write_words
from tests.support.tiny import tiny_config

pytest.importorskip("tokenizers")


def one():
    return Devices(make_mesh(jax.devices()[:1]))


CLIP = (
    "CLIPTextSettings(vocabulary={size}, positions=16, width=12, layers=2, heads=2, mlp_width=16,"
    " eos={eos})"
)
PLAIN = {"Words": {"name": "Words", "features": 12, "window": 6}}
WORD = {"Words": "mine", "TextEncoder": "<mine>"}
OWN = {
    "Words": {"name": "OwnWords", "words": ("mine",)},
    "TextEncoder": {"words": (("<mine>", 2),), "begin": "red"},
}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    size = write_words(folder / "tokenizer")
    write_encoder(folder / "text_encoder", clip(12, size), seed=1)
    settings = CLIP.format(size=size, eos=size - 1)
    return folder / "text_encoder", {"name": "TextEncoder", "settings": settings}


def config_of(kind, clip_folder, base=None):
    config = tiny_config()
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.conditions = ("text",)
    path, spec = clip_folder
    spec = {**PLAIN, "TextEncoder": spec}[kind]
    names = ("cat", "dog") * 5
    template = "a {}" if base is None else f"a {WORD[kind]} {{}}"
    config.transforms = (f"Caption(template='{template}', class_names={names})",)
    inputs = {"text_features": 12, "pooled_features": 12, "learned_null": True}
    config.network = {"name": "tests.support.frozen_parts:Reader", "inputs": inputs}
    with config.unlocked(), config.ignore_type():
        config.encoders = {"text": spec if base is None else {**spec, **OWN[kind]}}
        config.weights.text = str(path) if kind == "TextEncoder" else ""
        if base is not None:
            config.weights.network = {"source": base, "trained": False}
            config.adapters = {"word": "Difference(of='text', modules='^own')"}
    config.train.update(steps=2, log_every=1, checkpoint_every=2)
    return config


def same(tree, other):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(tree), jax.device_get(other))


@pytest.mark.parametrize("kind", ["Words", "TextEncoder"])
def test_a_word_is_trained_alone_and_its_file_gives_it_to_the_base(kind, clip_folder, tmp_path):
    """Fails if network or encoder learn too, the word does not, or its file is of other vectors."""
    base, folder = str(tmp_path / "base"), tmp_path / "word"
    Experiment(config_of(kind, clip_folder), one()).train(base)
    experiment = Experiment(config_of(kind, clip_folder, base), one())
    first = experiment.init()
    assert set(first.params) == {"word"}
    state = experiment.train(folder)
    assert set(state.params) == {"word"}
    changes = np.asarray(state.params["word"]["own"]["change"])
    assert (np.abs(changes).max(axis=1) > 0).all()
    before, learned = (
        jaxdiff.load(path, devices=one(), trust=("tests",)) for path in (base, str(folder))
    )
    same(learned.weights["network"], before.weights["network"])
    if kind == "TextEncoder":
        same(learned.weights["text"]["network"], before.weights["text"]["network"])

    file = tmp_path / "mine.safetensors"
    learned.save_word(file)
    assert list(open_tensors(file)) == ["emb_params"]
    given = before.with_word(file, WORD[kind])
    prompts = {"text": [f"a {WORD[kind]} cat", "a dog"]}
    found = [run.sample(2, prompts, guidance_scale=1.0) for run in (learned, given, before)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0] - found[2])[0].max() > 1e-4
    np.testing.assert_allclose(found[0][1], found[2][1], atol=1e-5)
    with pytest.raises(ValueError, match=f"there is a word '{WORD[kind]}' already"):
        given.with_word(file, WORD[kind])


def test_a_word_that_is_known_is_no_placeholder(clip_folder, tmp_path):
    """Fails if a word of the vocabulary is trained under its own name, or one is there twice."""
    config = config_of("TextEncoder", clip_folder)
    config.encoders.text.words = (("cat", 1),)
    with pytest.raises(ValueError, match=r"weights\.text: words: 'cat' is a word of the tokenizer"):
        Experiment(config, one()).load_frozen()
    with pytest.raises(ValueError, match="there is a word 'mine' already"):
        OwnWords(words=("mine", "mine"))
    with pytest.raises(ValueError, match="'<mine>' must be of small letters and digits"):
        OwnWords(words=("<mine>",))
    Experiment(config_of("Words", clip_folder), one()).train(tmp_path)
    with pytest.raises(ValueError, match="this run has learned no words"):
        jaxdiff.load(tmp_path, devices=one(), trust=("tests",)).save_word(
            tmp_path / "a.safetensors"
        )


def test_the_first_vectors_are_those_of_the_text_that_words_begin_as(clip_folder):
    """Fails if a word begins as another, or of two tokens the second is forgotten."""
    config = config_of("TextEncoder", clip_folder)
    config.encoders.text.update(words=(("<a>", 3), ("<b>", 1)), begin="red cat")
    experiment = Experiment(config, one())
    text = experiment.load_frozen()["text"]
    table = np.asarray(text["network"]["words"]["embedding"])
    encoder = experiment.task.conditions.encoders["text"]
    red, cat = table[encoder.tokens(["red cat"]).ids[0, 0, 1:3]]
    np.testing.assert_array_equal(text["own"], [red, red, cat, red])


def test_words_of_one_s_own_that_were_not_trained_are_words():
    """Fails if the vector of a place is lost, or a word beyond the window moves others."""
    plain, own = Words(8, 4), OwnWords(8, 4, ("mine", "yours"))
    params = own.load(own.shapes())
    texts = ["A mine, yours", "", "a b c mine mine"]
    before = plain.encode(None, plain.prepare(texts))
    after = own.encode(params, own.prepare(texts))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
