"""Prompts for parts of pictures."""

import numpy as np
import pytest

from jaxdiff.tasks.regions import Region

pytest.importorskip("tokenizers")


def test_a_region_of_everything_is_its_prompt_and_one_of_nothing_is_none(pipeline):
    """Fails if a region's prompt is encoded otherwise, or is under another guidance."""
    ones, left = np.ones((16, 16)), np.zeros((16, 16))
    left[:, :8] = 1
    draw = lambda text, **options: pipeline.sample(
        1, text, size=(16, 16), steps=2, guidance_scale=3.0, **options
    )
    cat, dog = draw("a red cat"), draw("a dog")
    np.testing.assert_array_equal(draw("a dog", regions=[Region("a red cat", ones)]), cat)
    np.testing.assert_array_equal(draw("a dog", regions=[Region("a red cat", 0 * ones)]), dog)
    both = draw("a dog", regions=[Region({"text": "a red cat"}, left, 0.5)])
    assert np.abs(both - dog).max() > 1e-4
    assert np.abs(both - cat).max() > 1e-4


@pytest.mark.parametrize(
    ("mask", "cond", "message"),
    [
        (np.ones((3, 16, 16)), "a cat", r"a mask has shape \(3, 16, 16\); expected"),
        (np.full((16, 16), 2.0), "a cat", r"values that are not in \[0, 1\]"),
        (np.ones((16, 16)), {"size": [1]}, r"unknown condition 'size'; known: \['text'\]"),
    ],
)
def test_what_is_no_region_is_named(pipeline, mask, cond, message):
    with pytest.raises(ValueError, match=message):
        pipeline.sample(1, "a dog", size=(16, 16), steps=2, regions=[Region(cond, mask)])
