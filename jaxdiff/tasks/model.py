"""A model: a network, and what its inputs and its output mean in a process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.typing import Cond, Denoiser, Params, Prediction
from jaxdiff.weights import learned


@dataclass(frozen=True)
class Model:
    """`network` with `init` and `apply`, called as `network(x, time, cond, dropout_keys)`."""

    network: Any
    process: Process
    parameterization: Parameterization
    input_scaling: Callable[[Process, Array, Array], Array]
    time_input: Callable[[Process, Array], Array]

    def init(self, key: Key[Array, ""], x: Float[Array, "b *shape"], cond: Cond) -> Params:
        """Returns fresh parameters for data and conditions of these shapes.

        They are {"network": ...}, and the learned parts' by their names.
        """
        network = self.network.init(key, x, jnp.ones(len(x), x.dtype), cond)["params"]
        return {"network": network, **learned.init(self.process)}

    def bind(self, params: Params, *, dropout_keys: Key[Array, " b"] | None = None) -> Denoiser:
        """Returns the denoiser that these parameters make; without keys, without dropout.

        The second half of an output of twice the channels of x is its learned variance.
        """
        process = learned.bind(self.process, params)

        def denoiser(x, t, cond) -> Prediction:
            y = self.network.apply(
                {"params": params["network"]},
                self.input_scaling(process, x, t),
                self.time_input(process, t),
                cond,
                dropout_keys,
            )
            y, share = _split_variance(y.astype(x.dtype), x.shape[-1])
            prediction = process.solve(self.parameterization, y, x, t)
            return prediction._replace(variance=share)

        return denoiser


def _split_variance(y, channels):
    """Returns y, and (v + 1)/2 of an output [y, v] (Nichol & Dhariwal 2021, section 3.1)."""
    if y.shape[-1] != 2 * channels:
        return y, None
    y, v = jnp.split(y, 2, axis=-1)
    return y, (v + 1) / 2
