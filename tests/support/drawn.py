"""A source of weights for tests: random numbers, none of them zero."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Drawn:
    """Normal numbers in place of a trained network, whose first output would be zero."""

    seed: int = 0

    def load(self, target: Any) -> Any:
        """Returns numbers in the shapes of `target`."""
        rng = np.random.default_rng(self.seed)
        draw = lambda leaf: jax.device_put(
            (0.3 * rng.standard_normal(leaf.shape)).astype(leaf.dtype),
            getattr(leaf, "sharding", None),
        )
        return jax.tree.map(draw, target)

    def fingerprint(self) -> str:
        """Returns the seed."""
        return str(self.seed)
