"""Features that are added to those of a U-Net."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Residuals(NamedTuple):
    """The output of the encoder of a U-Net, or arrays of the same shapes to be added to it.

    Attributes:
        middle: features at the smallest size, after the middle blocks.
        skips: features for the skip connections, in the order of the encoder's layers.
        levels: features to be added within the encoder, at the end of each level, as those of a
            T2I-Adapter; () for none.
    """

    middle: Float[Array, "b h w c"] | None
    skips: Sequence[Float[Array, "b _ _ _"]]
    levels: Sequence[Float[Array, "b _ _ _"]] = ()

    def plus(self, other: "Residuals") -> "Residuals":
        """Returns the sums; what one of both lacks is the other's.

        Raises:
            ValueError: the shapes differ.
        """
        either = lambda one, two: sums(one, two) if one and two else one or two
        alone = lambda middle: () if middle is None else (middle,)
        middle = either(alone(self.middle), alone(other.middle))
        skips, levels = either(self.skips, other.skips), either(self.levels, other.levels)
        return Residuals(middle[0] if middle else None, skips, levels)


def sums(one: Sequence[Array], other: Sequence[Array]) -> tuple[Array, ...]:
    """Returns the sums of arrays, one by one; raises ValueError if shapes differ."""
    shapes = lambda each: [a.shape for a in each]
    if shapes(one) != shapes(other):
        raise ValueError(f"residuals have shapes {shapes(other)}; expected {shapes(one)}")
    return tuple(map(jnp.add, one, other))
