"""The state that training carries from one step to the next."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxdiff.typing import Params


class TrainState(struct.PyTreeNode):
    """Weights by name, and all that changes with them.

    `params` has the trained weights, `frozen` the others, which are in no checkpoint; `ema` has the
    float32 moving averages of the trained weights that have one. `statistics` has the running
    statistics of adaptive parts, by their place.
    """

    step: Any  # an int32 scalar; not annotated, since tree maps fill states with other things too
    params: Mapping[str, Params]
    frozen: Mapping[str, Params]
    opt_state: optax.OptState
    ema: Mapping[str, Params]
    statistics: Any

    @property
    def weights(self) -> dict[str, Params]:
        """Returns all weights as they are trained: parameters and frozen ones."""
        return {**self.frozen, **self.params}

    @property
    def average(self) -> dict[str, Params]:
        """Returns the weights that samples are drawn from: averages and frozen ones."""
        return {**self.frozen, **self.ema}


def create(
    params: Mapping[str, Params],
    optimizer: optax.GradientTransformation,
    *,
    frozen: Mapping[str, Params] | None = None,
    statistics: Any = None,
    averaged: Callable[[Mapping[str, Params]], Mapping[str, Params]] = dict,
) -> TrainState:
    """Returns the state before the first step; averages start at the parameters.

    `averaged` chooses the parameters that have an average; all by default.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen={} if frozen is None else frozen,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(lambda p: jnp.array(p, jnp.float32), averaged(params)),
        statistics={} if statistics is None else statistics,
    )
