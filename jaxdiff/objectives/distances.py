"""Distances: from an error [b, ...] to a loss [b]."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float

from jaxdiff.options import NonNegativeFloat, PositiveFloat, checked

Error = Float[Array, "b *shape"]
Distance = Callable[[Error], Float[Array, " b"]]

KIND = Distance


@dataclass(frozen=True)
class Squared:
    """The mean of the squares."""

    def __call__(self, error: Error) -> Float[Array, " b"]:
        """Returns the loss [b]."""
        return reduce(error**2, "b ... -> b", "mean")


@checked
@dataclass(frozen=True)
class PseudoHuber:
    """√(‖error‖² + c²) - c, with c = scale·√values (Song & Dhariwal 2024, eq. 7).

    With a scale of 0 it is the norm, whose gradient at 0 is taken as 0.
    """

    scale: NonNegativeFloat = 0.00054

    def __call__(self, error: Error) -> Float[Array, " b"]:
        """Returns the loss [b]."""
        squared = reduce(error**2, "b ... -> b", "sum")
        c = self.scale * (error.size / len(error)) ** 0.5
        positive = squared + c**2 > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared + c**2, 1)), 0) - c


@checked
@dataclass(frozen=True)
class Adaptive:
    """‖error‖²/(‖error‖² + eps)^power, the denominator fixed (Geng et al. 2025, eq. 22).

    Where the target is noisy, this finds another mean: with a power above 0 outliers count less.
    """

    power: NonNegativeFloat = 1.0
    eps: PositiveFloat = 0.01

    def __call__(self, error: Error) -> Float[Array, " b"]:
        """Returns the loss [b]."""
        squared = reduce(error**2, "b ... -> b", "sum")
        return squared / jax.lax.stop_gradient((squared + self.eps) ** self.power)
