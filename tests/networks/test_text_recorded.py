"""What transformers says with seeded weights, recorded by experiments/parity.py --record."""

import numpy as np
import pytest

from tests.parity.cases import FIXTURES, all_cases, run_ours

RECORDED = [case for case in all_cases() if case.recorded]


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.title)
def test_as_recorded(case):
    """Catches another activation, norm, scale, mask, order, position or end token."""
    expected = np.load(case.fixture)
    ours = run_ours(case)
    assert set(ours) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-4, err_msg=name)


def test_no_record_is_left_over():
    """Catches a fixture that no case compares with."""
    assert set(FIXTURES.glob("*.npz")) == {case.fixture for case in RECORDED}
