"""The same weights in a peer's network and in ours give the same numbers."""

import pytest

from tests.parity.cases import all_cases, compare

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.title)
def test_same_numbers(case):
    """Catches any difference of layers, order, norms, masks, scales, positions or layouts."""
    found = compare(case)
    assert found.outputs <= 1e-4
    if case.gradients:
        assert found.gradients <= 1e-4
