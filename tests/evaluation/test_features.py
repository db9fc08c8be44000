"""The classifier whose features the distances are measured in."""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from jaxdiff.evaluation.features import Classifier, Training, in_batches, train_classifier
from jaxdiff.evaluation.frechet import frechet_distance
from jaxdiff.evaluation.kernel import kernel_distance
from jaxdiff.evaluation.moments import moments
from jaxdiff.networks.classifier import ConvClassifier

NETWORK = ConvClassifier(classes=10)
TRAINING = Training(steps=800, batch_size=64)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    images = (data.images[..., None] / 8 - 1).astype(np.float32)
    return train_test_split(images, data.target.astype(np.int32), test_size=0.2, random_state=0)


@pytest.fixture(scope="module")
def classifier(digits, optimized):
    images, held_out, labels, held_out_labels = digits
    with optimized():
        return train_classifier(NETWORK, images, labels, (held_out, held_out_labels), TRAINING)


def test_digits_are_recognised(classifier, digits):
    """Catches labels out of step with images, and an accuracy on the training split."""
    _, held_out, _, labels = digits
    right = classifier.logits(held_out).argmax(axis=1) == labels
    assert classifier.accuracy == right.mean() >= 0.97


def test_shifted_digits_are_recognised(classifier, digits):
    """Catches training without shifts: the accuracy is then about 0.25."""
    _, held_out, _, labels = digits
    shifted = np.pad(held_out, ((0, 0), (1, 0), (1, 0), (0, 0)), mode="edge")[:, :-1, :-1]
    assert np.mean(classifier.logits(shifted).argmax(axis=1) == labels) > 0.9


def test_features_tell_digits_from_noise(classifier, digits):
    """Catches features that do not come from the trained weights or do not depend on the image."""
    images = np.random.default_rng(0).permutation(digits[0])
    noise = np.random.default_rng(1).uniform(-1, 1, (700, 8, 8, 1)).astype(np.float32)
    first, second, far = classifier(images[:700]), classifier(images[700:1400]), classifier(noise)
    near = frechet_distance(moments(first), moments(second))
    assert frechet_distance(moments(first), moments(far)) > 20 * near
    same, other = (
        kernel_distance(first, set_, subsets=20, subset_size=300) for set_ in (second, far)
    )
    assert abs(same.mean) < 0.02
    assert other.mean > 0.2


def test_features_do_not_depend_on_the_batch(classifier, digits):
    """Catches filled-up rows that leak into the result, and batches out of order."""
    images = digits[0][:600]
    _, whole = jax.jit(NETWORK.apply)(classifier.params, images)
    for count in (1, 255, 256, 600):
        np.testing.assert_allclose(classifier(images[:count]), whole[:count], atol=1e-4)


def test_batches_have_one_shape():
    shapes = []
    doubled = in_batches(lambda x: (shapes.append(x.shape), 2 * x)[1], np.arange(7.0), size=3)
    assert shapes == [(3,)] * 3
    assert doubled.tolist() == (2 * np.arange(7.0)).tolist()


def test_the_seed_decides_everything(digits):
    """Catches randomness outside the seed, and a seed that reaches only the order or the init."""
    images, held_out, labels, held_out_labels = digits
    network = ConvClassifier(classes=10, channels=(8,), features=8)
    few = Training(steps=3, batch_size=8)
    train = lambda seed: train_classifier(
        network, images, labels, (held_out, held_out_labels), few, seed
    )
    one, again, other = jax.tree.leaves_with_path(train(1).params), train(1), train(2)
    for (path, a), b, c in zip(
        one, jax.tree.leaves(again.params), jax.tree.leaves(other.params), strict=True
    ):
        assert (a == b).all(), path
        assert (a != c).any(), path


def test_a_saved_classifier_is_the_same(classifier, digits, tmp_path):
    path = tmp_path / "new" / "classifier.npz"
    classifier.save(path)
    loaded = Classifier.load(path, network=NETWORK)
    assert loaded.accuracy == classifier.accuracy
    assert (loaded(digits[1]) == classifier(digits[1])).all()
    assert [p.name for p in path.parent.iterdir()] == ["classifier.npz"]


def test_damaged_and_foreign_files_are_named(classifier, tmp_path):
    path = tmp_path / "classifier.npz"
    classifier.save(path)
    with pytest.raises(ValueError, match=r"classifier.npz holds another network"):
        Classifier.load(path, network=ConvClassifier(classes=11))
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:3000] + b"\0" * 50 + whole[3050:], b"", b"no"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"classifier.npz is not a whole classifier file"):
            Classifier.load(path)
    with pytest.raises(FileNotFoundError):
        Classifier.load(tmp_path / "missing.npz")


def test_weights_that_do_not_fit_are_named(classifier, tmp_path):
    """Catches a load that trusts the header."""
    path = tmp_path / "classifier.npz"
    wider = Classifier(ConvClassifier(10, features=128), classifier.params, (8, 8, 1), 0.9)
    wider.save(path)
    with pytest.raises(ValueError, match=r"classifier.npz: its network needs weights"):
        Classifier.load(path)


def test_bad_images_are_named(classifier, digits):
    images, _, labels, _ = digits
    with pytest.raises(ValueError, match=r"\[n, 8, 8, 1\].*\(2, 9, 8, 1\)"):
        classifier(np.zeros((2, 9, 8, 1), np.float32))
    with pytest.raises(ValueError, match=r"n at least 1"):
        classifier(images[:0])
    with pytest.raises(ValueError, match=r"images.*\(9, 8, 8, 1\) and \(8,\)"):
        train_classifier(NETWORK, images[:9], labels[:8], (images, labels))
    with pytest.raises(ValueError, match=r"held_out: pixels must lie in \[-1, 1\]"):
        train_classifier(NETWORK, images, labels, (images * 8, labels))
