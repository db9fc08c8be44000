"""Bytes of a training state on one chip, by the layout alone: nothing is compiled."""

import math
from typing import Any

import jax
from jax.sharding import AbstractMesh

from jaxdiff.weights.layouts import Mesh
from jaxdiff.weights.placement import shardings


def bytes_on_chip(state: Any, layout: Mesh, chips: int) -> dict[str, int]:
    """Returns the bytes of parameters, averages, optimizer state and frozen parts on each chip.

    `state` is a `TrainState` of shapes.

    Raises:
        ValueError: the layout's axes do not multiply to the chips, or a dimension does not divide.
    """
    sizes = layout.sizes(chips)
    mesh: Any = AbstractMesh(tuple(sizes.values()), tuple(sizes))
    where = shardings(state, layout, mesh)

    def of(name: str) -> int:
        leaves = zip(
            jax.tree.leaves(getattr(state, name)),
            jax.tree.leaves(getattr(where, name)),
            strict=True,
        )
        return sum(_part(leaf, place.spec, sizes) for leaf, place in leaves)

    return {name: of(name) for name in ("params", "ema", "opt_state", "frozen")}


def _part(leaf: Any, spec: Any, sizes: dict[str, int]) -> int:
    """Returns the bytes of an array's part on one chip."""
    parts = 1
    for axes in spec:
        for axis in (axes,) if isinstance(axes, str) else axes or ():
            parts *= sizes[axis]
    return math.prod(leaf.shape) * leaf.dtype.itemsize // parts
