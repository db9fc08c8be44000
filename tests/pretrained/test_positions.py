"""The tables of positions in files of Stable Diffusion 3 and DiT, beside the formula."""

import numpy as np
import pytest

from jaxdiff.networks.dit import CentredGrid, DiT, MMDiT, SinCosPositions
from jaxdiff.networks.inputs import Inputs
from jaxdiff.pretrained.positions import check_positions, positions_of

NETWORK = MMDiT(
    8, 2, 2, positions=SinCosPositions(CentredGrid(4.0, 12)), inputs=Inputs(text_features=4)
)


def test_the_table_of_a_file_is_that_of_the_formula():
    """Fails if rows and columns are exchanged, or a table of another grid passes."""
    table = positions_of(NETWORK)
    assert table.shape == (1, 144, 8)
    # The middle of the grid is half of the extent: first sine and cosine of column 6 and row 6.
    middle = table[0, 12 * 6 + 6]
    np.testing.assert_allclose(middle[[0, 2, 4, 6]], [np.sin(2.0), np.cos(2.0)] * 2, atol=1e-6)
    check_positions(NETWORK, table.astype(np.float16), "a file")
    check_positions(NETWORK, None, "a file")
    other = NETWORK.clone(positions=SinCosPositions(CentredGrid(12.0, 12)))
    with pytest.raises(ValueError, match=r"a file holds other positions .* of 12 places over 12"):
        check_positions(other, table, "a file")
    with pytest.raises(ValueError, match=r"a file: the positions have shape \[1, 100, 8\], not"):
        check_positions(NETWORK, table[:, :100], "a file")


def test_the_table_of_a_diffusion_transformer_is_checked():
    """Fails if a table of another grid, or of rows before columns, passes."""
    network = DiT(8, 2, 2)
    places = network.positions.places((1, 3, 3))
    table = np.asarray(network.positions.added(places[None], 8))
    check_positions(network, table.astype(np.float16), "a file")
    turned = table.reshape(3, 3, 8).swapaxes(0, 1).reshape(1, 9, 8)
    for other in (turned, 0.5 * table, table[..., :6]):
        with pytest.raises(ValueError, match=r"other positions than .* of 3 by 3 places"):
            check_positions(network, other, "a file")
