"""Diffusion on the pixels themselves."""

from dataclasses import dataclass

from jaxtyping import Array, Float, Key

from jaxdiff.options import PositiveFloat
from jaxdiff.typing import Params


@dataclass(frozen=True)
class Pixels:
    """The identity, times `scale`: pixels in [-1, 1] have a standard deviation near 0.5."""

    scale: PositiveFloat = 1.0

    def encode(
        self, params: Params, x: Float[Array, "b *shape"], keys: Key[Array, " b"]
    ) -> Float[Array, "b *shape"]:
        """Returns scale·x."""
        return self.scale * x

    def decode(self, params: Params, z: Float[Array, "b *shape"]) -> Float[Array, "b *shape"]:
        """Returns z/scale."""
        return z / self.scale
