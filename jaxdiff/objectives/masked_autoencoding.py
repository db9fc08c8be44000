"""Masked autoencoding: an encoder of features for objectives that compare samples in them."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from jaxdiff import random
from jaxdiff.diffusion.process import Process
from jaxdiff.objectives.two_times import mean_square
from jaxdiff.options import Range, Size, checked
from jaxdiff.typing import Cond, Data, Draw, Metrics, Roles


@checked
@dataclass(frozen=True)
class MaskedAutoencoding:
    """Data completed from data with patches that are zero (He et al. 2022).

    Each patch of `patch` places on each axis is hidden with probability `share`, and the loss is
    that of the hidden places. The network is asked at the one time `at`, and what it says of the
    data is read: take parameterization="x0". Its samples mean nothing; it is the teacher of an
    objective that reads features, at this time (Deng et al. 2026, section 4).
    """

    process: Process
    share: Annotated[float, Range(gt=0, lt=1)] = 0.5
    patch: Size = 2
    at: Annotated[float, Range(gt=0, lt=1)] = 0.5

    def __call__(
        self, roles: Roles, x0: Data, cond: Cond, draw: Draw, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss [b].

        Raises:
            ValueError: the data are not made of patches.
        """
        hidden = self._hidden(random.stream(draw.keys, "mask"), x0)
        t = jnp.full(len(x0), self.at, x0.dtype)
        found = roles.student(jnp.where(hidden, 0, x0), t, cond).x0
        whole = jnp.broadcast_to(hidden, x0.shape)
        share = jnp.maximum(mean_square(whole.astype(x0.dtype)), 1e-6)
        loss = mean_square(jnp.where(whole, found - x0, 0)) / share
        return loss, {"squared_error": loss}

    def _hidden(self, keys: Key[Array, " b"], x0: Data) -> Array:
        """Returns which places [b, ..., 1] are hidden, all of a patch alike."""
        sizes = x0.shape[1:-1]
        if not sizes or any(size % self.patch for size in sizes):
            raise ValueError(
                f"MaskedAutoencoding: data of {x0.shape[1:]} are not made of patches of"
                f" {self.patch}"
            )
        grid = tuple(size // self.patch for size in sizes)
        hidden = jax.vmap(lambda key: jax.random.bernoulli(key, self.share, (*grid, 1)))(keys)
        for axis in range(1, len(sizes) + 1):
            hidden = jnp.repeat(hidden, self.patch, axis=axis)
        return hidden
