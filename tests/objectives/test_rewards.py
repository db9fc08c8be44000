"""Rewards that read files: what they say of a picture, and of a file that does not fit."""

import jax
import numpy as np
import pytest

from jaxdiff.networks import classifier_files
from jaxdiff.networks.classifier import ConvClassifier
from jaxdiff.objectives.rewards import Agreement
from jaxdiff.typing import Condition

IMAGES = jax.random.uniform(jax.random.key(0), (4, 8, 8, 1), minval=-1)
LABELS = np.array([2, 0, 1, 2])


def test_agreement_is_the_log_probability_of_the_label(tmp_path):
    """Fails if another label's is taken, or the logits themselves."""
    network = ConvClassifier(3, channels=(8,), features=4)
    params = network.init(jax.random.key(0), IMAGES)
    file = tmp_path / "classifier.npz"
    classifier_files.write(file, network, params, image_shape=(8, 8, 1), accuracy=1.0)
    reward = Agreement(str(file))
    logits = np.asarray(network.apply(params, IMAGES)[0])
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    for label in (LABELS, Condition(LABELS, keep=np.array([True, False, True, True]))):
        found = jax.jit(reward)(IMAGES, {"label": label})
        np.testing.assert_allclose(found, expected[np.arange(4), LABELS], rtol=1e-4)
    with pytest.raises(ValueError, match=r"asked for by \['text'\], not by 'label'"):
        reward(IMAGES, {"text": LABELS})
    with pytest.raises(ValueError, match="is of pictures"):
        reward(IMAGES[:, :4], {"label": LABELS})


def test_a_file_that_is_missing_is_named(tmp_path):
    """Fails if it is found missing in the first step only."""
    with pytest.raises(ValueError, match=r"Agreement: file='.*none\.npz' is not a file"):
        Agreement(str(tmp_path / "none.npz"))
