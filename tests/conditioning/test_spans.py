"""Which tokens of two prompts belong together."""

import numpy as np
import pytest

from jaxdiff.conditioning.spans import aligned, scales
from jaxdiff.conditioning.words import Words

READ = Words(8, 8).spans


def test_words_that_are_replaced_and_words_that_are_new():
    """Fails if a new word shifts those behind it, or is taken for another."""
    matrix, replaced = aligned(READ("a red cat"), READ("a blue dog"))
    np.testing.assert_array_equal(matrix, np.eye(8))
    assert replaced.all()
    matrix, replaced = aligned(READ("a red cat"), READ("a very fluffy red cat"))
    assert replaced.tolist() == [1, 1, 0, 0, 1, 1, 1, 1]
    assert matrix.argmax(0)[[0, 1, 4, 5, 6, 7]].tolist() == [0, 1, 2, 3, 4, 5]
    assert not matrix[:, 2:4].any()
    with pytest.raises(ValueError, match="kind='replace': 3 words and 2"):
        aligned(READ("a red cat"), READ("a cat"), "replace")


def test_a_word_of_other_many_tokens_shares_the_map():
    """Fails if the mass of a word's map is lost or doubled."""
    source, target = READ("a cat"), READ("a dog")
    target = target._replace(words=[("a", [1]), ("dog", [2, 3])])
    matrix, replaced = aligned(source, target)
    np.testing.assert_array_equal(matrix[2, :4], [0, 0, 0.5, 0.5])
    assert replaced.all()
    assert matrix[3, 4] == 1


def test_weights_are_of_words():
    found = scales(READ("a red, red cat"), {"Red": 2.0, "cat": 0.5})
    assert found.tolist() == [1, 1, 2, 2, 0.5, 1, 1, 1]
    with pytest.raises(ValueError, match="no word 'dog' in 'a cat'"):
        scales(READ("a cat"), {"dog": 1.0})
