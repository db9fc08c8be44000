"""Learning rates over optimizer steps, each with a linear warm-up from zero to `peak`.

A schedule that has a length takes the run's, `train.steps`, unless its own is written.
"""

import jax.numpy as jnp
import optax

from jaxdiff.options import Count, NonNegativeFloat, Size

KIND = optax.Schedule
"""The kind of objects that the names of this module build."""


def constant(peak: float, warmup_steps: Count = 0) -> optax.Schedule:
    """Stays at the peak."""
    return _warmed_up(optax.constant_schedule(peak), peak, warmup_steps)


def cosine(
    peak: float, steps: Size, warmup_steps: Count = 0, end: NonNegativeFloat = 0.0
) -> optax.Schedule:
    """Falls to `end` at step `steps` along half a cosine (Loshchilov & Hutter 2017).

    Raises:
        ValueError: `end` is above the peak.
    """
    if end > peak:
        raise ValueError(f"cosine: end={end} is above the learning rate {peak}")
    share = end / peak if peak else 0.0
    decay = optax.cosine_decay_schedule(peak, max(steps - warmup_steps, 1), share)
    return _warmed_up(decay, peak, warmup_steps)


def inverse_sqrt(peak: float, flat_steps: Size, warmup_steps: Count = 0) -> optax.Schedule:
    """Stays at the peak for `flat_steps`, then falls as 1/√step (Karras et al. 2024, eq. 67)."""
    return _warmed_up(lambda n: peak / jnp.sqrt(jnp.maximum(n / flat_steps, 1)), peak, warmup_steps)


def _warmed_up(schedule, peak, warmup_steps):
    if not warmup_steps:
        return schedule
    ramp = optax.linear_schedule(0.0, peak, warmup_steps)
    # Starts at one step's worth, not at zero: the first step should do something.
    return optax.join_schedules([lambda n: ramp(n + 1), schedule], [warmup_steps])
