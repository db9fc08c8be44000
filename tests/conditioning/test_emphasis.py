"""Prompts with weights, breaks and changes: what they mean, token by token."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.conditioning.emphasis import emphasized, phases, tokenized, weighted
from jaxdiff.conditioning.tokens import Tokenizer

LETTERS = Tokenizer(lambda texts: [[ord(c) for c in t if c != " "] for t in texts], 1, 2, 0, 128)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("", [("", 1.0)]),
        ("a (red) cat", [("a ", 1.0), ("red", 1.1), (" cat", 1.0)]),
        ("((red))", [("red", 1.21)]),
        ("[red]", [("red", 1 / 1.1)]),
        ("(red:1.3) cat", [("red", 1.3), (" cat", 1.0)]),
        ("(a (red:2) cat:0.5)", [("a ", 0.5), ("red", 1.0), (" cat", 0.5)]),
        (r"\(red\) cat", [("(red) cat", 1.0)]),
        ("ratio 1:2", [("ratio 1:2", 1.0)]),
        ("a) cat", [("a) cat", 1.0)]),
        ("a (red cat", [("a ", 1.0), ("red cat", 1.1)]),
    ],
)
def test_weights_of_a_prompt(prompt, expected):
    """The grammar of AUTOMATIC1111; fails if a bracket counts otherwise, or a sign is lost."""
    found = weighted(prompt)
    assert [text for text, _ in found] == [text for text, _ in expected]
    np.testing.assert_allclose([w for _, w in found], [w for _, w in expected])


def test_changes_on_the_way():
    """Fails if a word comes or goes at another step."""
    assert phases("a cat") == [(0.0, "a cat")]
    assert phases("a [cat:dog:0.5]") == [(0.0, "a cat"), (0.5, "a dog")]
    assert phases("[cat::.25][dog:0.75] (red:1.3)") == [
        (0.0, "cat (red:1.3)"), (0.25, " (red:1.3)"), (0.75, "dog (red:1.3)"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"changes at 20\.0: write a share"):
        phases("[cat:dog:20]")


def test_windows_have_their_own_ends_and_weights():
    """Fails if a break, an overflow or a special token gets another place or weight."""
    found = tokenized(LETTERS, ["ab(c:2)d BREAK e", "x"], 5, 3, emphasis=True)
    a, b, c, d, e, x = map(ord, "abcdex")
    assert found.ids.tolist() == [
        [[1, a, b, c, 2], [1, d, 2, 0, 0], [1, e, 2, 0, 0]],
        [[1, x, 2, 0, 0], [1, 2, 0, 0, 0], [1, 2, 0, 0, 0]],
    ]
    assert found.weights[0, 0].tolist() == [1, 1, 1, 2, 1]
    assert found.mask[1, 2].tolist() == [True, True, False, False, False]
    plain = tokenized(LETTERS, ["a(b)"], 6, 1, emphasis=False)
    assert plain.ids[0, 0].tolist() == [1, a, ord("("), b, ord(")"), 2]
    with pytest.raises(ValueError, match="needs 2 windows of 3 tokens, and there are 1"):
        tokenized(LETTERS, ["abcd"], 5, 1, emphasis=True)
    cut = tokenized(LETTERS, ["ab(cde:2)f BREAK e"], 5, 2, emphasis=True, cut=True)
    assert cut.ids.tolist() == [[[1, a, b, c, 2], [1, e, 2, 0, 0]]]


def test_emphasis_keeps_the_mean():
    """Closed form; fails if weights reach other tokens, or a plain prompt changes at all."""
    states = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 4)) + 1, jnp.float32)
    weights = np.ones((2, 2, 3), np.float32)
    np.testing.assert_array_equal(emphasized(states, weights), states)
    weights[0, 1, 2] = 3
    found = emphasized(states, weights)
    np.testing.assert_array_equal(found[1], states[1])
    np.testing.assert_array_equal(found[0, :3], states[0, :3])
    np.testing.assert_allclose(found[0, 3:].mean(), states[0, 3:].mean(), rtol=1e-5)
    np.testing.assert_allclose(
        found[0, 5] / found[0, 4], 3 * states[0, 5] / states[0, 4], rtol=1e-4
    )
