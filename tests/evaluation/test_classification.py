import numpy as np
import pytest

from jaxdiff.evaluation.classification import class_accuracy


def test_overall_and_per_class():
    """Catches rates per predicted class (precision) in place of rates per requested class."""
    found = class_accuracy([0, 0, 1, 2, 0], requested=[0, 1, 1, 1, 0], classes=4)
    assert found.overall == pytest.approx(3 / 5)
    np.testing.assert_allclose(found.per_class, [1, 1 / 3, np.nan, np.nan])
    assert found.counts.tolist() == [2, 3, 0, 0]


def test_logits_are_read_by_their_largest():
    logits = np.array([[0.1, 2.0, -1.0], [3.0, 2.0, 1.0], [-3.0, -2.0, -1.0]])
    found = class_accuracy(logits, requested=[1, 0, 1])
    assert found.per_class.tolist()[:2] == [1.0, 0.5]
    assert len(found.per_class) == 3


@pytest.mark.parametrize(
    ("predicted", "requested", "message"),
    [([0, 1], [0], r"\(2,\) and \(1,\)"), ([], [], r"\(0,\)"), (np.eye(2), [0, 5], "0 to 5")],
)
def test_bad_input_is_named(predicted, requested, message):
    with pytest.raises(ValueError, match=message):
        class_accuracy(predicted, requested)
