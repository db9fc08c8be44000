"""Prompt-to-prompt and attend-and-excite with a tiny released model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.diffusion.excitation import least_excitation
from jaxdiff.networks.attention_maps import EditedMaps, edits_of
from jaxdiff.runs.editing import prompt_to_prompt
from jaxdiff.tasks.attention import Excite, PromptEdit
from jaxdiff.trees import replaced

pytest.importorskip("tokenizers")

OPTIONS = {"size": (16, 16), "steps": 2, "guidance_scale": 3.0, "solver": "DDIM"}


@pytest.fixture(scope="module")
def pairs(pipeline):
    """Pairs of a source and its edit."""
    return lambda source, target, **edit: prompt_to_prompt(
        pipeline, source, target, edit=PromptEdit(**edit), **OPTIONS
    )[0]


def test_an_edit_that_changes_nothing_is_the_plain_sample_bit_for_bit(pipeline, pairs):
    """Fails if edited attention is computed otherwise, or an edit is at work where it is off."""
    texts = {"text": ["a red cat", "a red cat"]}
    plain = pipeline.sample(2, texts, seed=[0, 0], first=[0, 0], **OPTIONS)
    same = pairs("a red cat", "a red cat", weights={"cat": 1.0})
    np.testing.assert_array_equal(same, plain)
    heavy = pairs("a red cat", "a red cat", weights={"cat": 5.0})
    np.testing.assert_array_equal(heavy[0], plain[0])
    assert np.abs(heavy[1] - plain[1]).max() > 1e-4
    off = pairs("a red cat", "a red dog", cross=0.0, shared=0.0)
    texts = {"text": ["a red cat", "a red dog"]}
    other = pipeline.sample(2, texts, seed=[0, 0], first=[0, 0], **OPTIONS)
    np.testing.assert_array_equal(off, other)
    swapped = pairs("a red cat", "a red dog", cross=1.0, shared=1.0)
    np.testing.assert_array_equal(swapped[0], plain[0])
    assert np.abs(swapped[1] - other[1]).max() > 1e-4


def inputs_of(pipeline, texts):
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (1, 8, 8, 4)), (2, 8, 8, 4))
    return x, jnp.full(2, 0.7), pipeline.encode_prompts(2, {"text": texts}, size=(16, 16))


def test_maps_that_are_replaced_are_the_source_s(pipeline):
    """Fails if maps are another row's, or another layer's, or are not in the words' order."""
    x, t, cond = inputs_of(pipeline, ["a red cat", "a blue dog"])
    model = pipeline.parts.model.bind(pipeline.weights)
    k = cond["text"].value.shape[1]
    order = np.eye(k)[:, [0, 1, 3, 2, *range(4, k)]]  # which of the source's is each token
    rows = lambda a: jnp.stack([jnp.asarray(a, jnp.float32)] * 2)
    edit = EditedMaps(
        rows(order), rows(np.arange(k) != 1), rows(np.ones(k)), jnp.array([False, True])
    )

    def both(x, t, cond):
        edited = replaced(model, edits=edits_of(model.params, text=edit))
        return model.text_maps(x, t, cond), edited.text_maps(x, t, cond)

    plain, edited = jax.jit(both)(x, t, cond)
    for before, after in zip(plain, edited, strict=True):
        np.testing.assert_allclose(after[0], before[0], atol=1e-6)
        np.testing.assert_allclose(after[1, :, 2], before[0, :, 3], atol=1e-6)
        np.testing.assert_allclose(after[1, :, 3], before[0, :, 2], atol=1e-6)
    np.testing.assert_allclose(edited[0][1, :, 1], plain[0][1, :, 1], atol=1e-6)
    assert np.abs(plain[0][0, :, 2] - plain[0][1, :, 2]).max() > 1e-4


def test_excited_words_get_attention(pipeline):
    """Fails if x moves the wrong way, or maps are those of another word."""
    prompt = "a red cat"
    draw = lambda **options: pipeline.sample(1, prompt, **{**OPTIONS, "t_end": 0.5}, **options)
    model = pipeline.parts.model.bind(pipeline.weights)
    spans = pipeline.parts.text.spans(prompt)
    assert [word for word, _ in spans.words] == ["a", "red", "cat"]
    x, t, cond = inputs_of(pipeline, [prompt] * 2)
    k = spans.length
    words = jnp.zeros((2, 1, k), bool).at[:, 0, jnp.array(spans.of("cat"))].set(True)
    text = jnp.zeros((2, k), bool).at[:, 1:4].set(True)
    loss = lambda x: least_excitation(model.text_maps(x, t, cond), (8, 8), words, text)
    value, slope = jax.jit(lambda x: (loss(x), jax.grad(lambda x: loss(x).sum())(x)))(x)
    moved = jax.jit(loss)(x - 0.1 * slope / jnp.linalg.norm(slope))
    assert (moved < value - 1e-6).all()
    plain, excited = draw(), draw(excite=Excite(["cat"], rate=5.0, share=1.0))
    assert np.abs(plain - excited).max() > 1e-5
    np.testing.assert_array_equal(plain, draw(excite=Excite(["cat"], rate=5.0, share=0.0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edit": PromptEdit(weights={"house": 2.0})}, "there is no word 'house' in 'a red cat'"),
        ({"excite": Excite(["dog"])}, "there is no word 'dog' in 'a red cat'"),
        ({"edit": PromptEdit(), "batch_size": 3}, "num=2 and batch_size=3: samples are pairs"),
    ],
)
def test_words_and_pairs_that_are_not_there_are_named(pipeline, options, message):
    with pytest.raises(ValueError, match=message):
        pipeline.sample(2, "a red cat", **OPTIONS, **options)
