"""Muon for networks whose blocks are a scan.

In a config it is `optimizer.name="jaxdiff.training.muon:muon"`.
"""

from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers
from optax.contrib import muon as of_matrices

from jaxdiff.options import NonNegativeFloat, PositiveFloat


def muon(
    learning_rate: Any,
    beta: float = 0.95,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: PositiveFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.0,
    mask: Any = None,
) -> optax.GradientTransformation:
    """Moves matrices by their orthogonalized momentum (Jordan et al. 2024), the rest by NAdam.

    A parameter with three axes is a matrix for each layer of a scan. `b1` and `b2` are NAdam's;
    `mask` says which parameters decay.
    """
    return of_matrices(
        learning_rate,
        beta=beta,
        eps=eps,
        weight_decay=weight_decay,
        weight_decay_mask=mask,
        adam_b1=b1,
        adam_b2=b2,
        muon_weight_dimension_numbers=_matrices,
    )


def _matrices(params: Any) -> Any:
    """Returns the axes of each parameter's matrices, None for those that are none."""
    axes = {2: MuonDimensionNumbers(0, 1), 3: MuonDimensionNumbers(1, 2)}
    return jax.tree.map(lambda p: axes.get(p.ndim), params)
