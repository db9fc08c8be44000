"""What training carries from one step to the next."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxdiff.typing import Params


@struct.dataclass
class TrainState:
    """Parameters and all that changes with them; `ema` is their float32 moving average.

    `params` has the network's under "network" and each learned part's under its name; `statistics`
    has what the adaptive parts have seen. `frozen` holds parameters that are used but not trained:
    encoders, teachers, codecs; they are in no checkpoint.
    """

    step: Any  # an int32 scalar; not annotated, since tree maps fill states with other things too
    params: Params
    frozen: Params
    opt_state: optax.OptState
    ema: Params
    statistics: Any


def create(
    params: Params,
    optimizer: optax.GradientTransformation,
    frozen: Params = None,
    statistics: Any = None,
) -> TrainState:
    """Returns the state before the first step; the average starts at the parameters."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen={} if frozen is None else frozen,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(lambda p: jnp.array(p, jnp.float32), params),
        statistics={} if statistics is None else statistics,
    )
