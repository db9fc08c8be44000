"""Samples in batches, from nothing but the keys of their examples."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxdiff import random
from jaxdiff.progress import full_batches
from jaxdiff.weights.devices import Devices


def draw_unconditional(
    draw: Callable[[Key[Array, " b"]], Array],
    devices: Devices,
    num: int,
    cond: Mapping[str, Any] | None = None,
    *,
    seed: int,
    first: int,
    batch_size: int,
    guidance_scale: float,
) -> np.ndarray:
    """Returns samples [num, ...] of `draw(keys)`; sample i of a seed is the same in any batches.

    Raises:
        ValueError: num is less than 1, or conditions or guidance are asked for.
    """
    if num < 1 or cond or guidance_scale != 1:
        raise ValueError(
            f"num={num}, cond={cond}, guidance_scale={guidance_scale}: this model draws at least 1"
            " sample, without conditions and guidance"
        )
    key, parts = random.stream(jax.random.key(seed), "sample"), []
    for index, kept in full_batches(num, min(num, batch_size)):
        keys = devices.spread(random.example_keys(key, jnp.asarray(index + first)))
        parts.append(devices.gather(draw(keys))[:kept])
    return np.concatenate(parts)
