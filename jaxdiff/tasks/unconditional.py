"""A sampler without conditions: samples from nothing but the keys of their examples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxdiff import random
from jaxdiff.progress import full_batches
from jaxdiff.typing import Params
from jaxdiff.weights.devices import Devices


@dataclass(frozen=True, eq=False)
class Unconditional:
    """Draws samples by one evaluation: `sampler(weights, num, seed=0)`.

    `draw(params, keys)`, which may be compiled, returns a sample for each key from the parameters
    of "network".
    """

    draw: Callable[[Params, Key[Array, " b"]], Array]
    devices: Devices
    batch_size: int

    def __call__(
        self,
        weights: Mapping[str, Params],
        num: int,
        cond: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        first: int = 0,
        batch_size: int | None = None,
        guidance_scale: float = 1.0,
    ) -> np.ndarray:
        """Draws samples [num, ...], the same for a seed and an index in any batches.

        Raises:
            ValueError: num is less than 1, or conditions or guidance are asked for.
        """
        if num < 1 or cond or guidance_scale != 1:
            raise ValueError(
                f"num={num}, cond={cond}, guidance_scale={guidance_scale}: this model draws at"
                " least 1 sample, without conditions and guidance"
            )
        key, parts = random.stream(jax.random.key(seed), "sample"), []
        for index, kept in full_batches(num, min(num, batch_size or self.batch_size)):
            keys = self.devices.spread(random.example_keys(key, jnp.asarray(index + first)))
            parts.append(self.devices.gather(self.draw(weights["network"], keys))[:kept])
        return np.concatenate(parts)
