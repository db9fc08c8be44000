"""A model: a network, and the meaning of its inputs and its output in a process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.diffusion.process import Parameterization, Process
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Params, Prediction
from jaxdiff.weights import learned


@pytree()
@dataclass(frozen=True)
class Model:
    """`network` with `init` and `apply`, called as `network(x, time, cond, dropout_keys)`."""

    network: Any
    process: Process
    parameterization: Parameterization
    input_scaling: Callable[[Process, Array, Array], Array]
    time_input: Callable[[Process, Array], Array]

    def init(self, key: Key[Array, ""], x: Float[Array, "b *shape"], cond: Cond) -> Params:
        """Returns fresh parameters of the network, for data and conditions of these shapes."""
        return self.network.init(key, x, jnp.ones(len(x), x.dtype), cond)["params"]

    def bind(
        self,
        weights: Mapping[str, Params],
        *,
        name: str = "network",
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> "Bound":
        """Returns the denoiser that some weights make; without keys, without dropout.

        The network's are those of `name`; a learned schedule's are under its place.
        """
        places = [place for place, _ in learned.parts(self.process, learned.PROCESS)]
        values = {place: weights[place] for place in places if place in weights}
        return Bound(self, weights[name], values, dropout_keys)


@pytree(data=("params", "learned", "dropout_keys"))
@dataclass(frozen=True)
class Bound:
    """A model with its weights: a denoiser that goes through `jax.jit` as an argument.

    `params` are the network's, `learned` those of a learned schedule, by place.
    """

    model: Model
    params: Params
    learned: Mapping[str, Params] = field(default_factory=dict)
    dropout_keys: Key[Array, " b"] | None = None

    @property
    def process(self) -> Process:
        """Returns the forward process, its schedule as learned."""
        return learned.bind(self.model.process, self.learned, learned.PROCESS)

    def __call__(
        self, x: Float[Array, "b *shape"], t: Float[Array, "..."], cond: Cond
    ) -> Prediction:
        """Returns x0 and noise; the second half of twice the channels of x is the variance."""
        model, process = self.model, self.process
        y = model.network.apply(
            {"params": self.params},
            model.input_scaling(process, x, t),
            model.time_input(process, t),
            cond,
            self.dropout_keys,
        )
        y, share = _split_variance(y.astype(x.dtype), x.shape[-1])
        prediction = process.solve(model.parameterization, y, x, t)
        return prediction._replace(variance=share)


def _split_variance(y, channels):
    """Returns y, and (v + 1)/2 of an output [y, v] (Nichol & Dhariwal 2021, section 3.1)."""
    if y.shape[-1] != 2 * channels:
        return y, None
    y, v = jnp.split(y, 2, axis=-1)
    return y, (v + 1) / 2
