"""Guidance: functions from denoisers to denoisers, which compose."""

import jax
import jax.numpy as jnp

from jaxdiff.typing import Cond, Denoiser, Prediction


def drop(cond: Cond) -> Cond:
    """Returns the same conditions, all marked as dropped."""
    conditions = {k: value for k, value in cond.items() if not k.endswith("_kept")}
    return conditions | {f"{k}_kept": jnp.zeros(len(c), bool) for k, c in conditions.items()}


def classifier_free(denoiser: Denoiser, guidance_scale: float) -> Denoiser:
    """Extrapolates from the unconditional prediction through the conditional one.

    `guidance_scale` is 1 for no guidance, 0 for no condition: unconditional + scale·(conditional -
    unconditional), which is 1 + w in Ho & Salimans (2022, eq. 6). Both are evaluated in one call
    of twice the batch.

    Raises:
        ValueError: there is no condition to be guided by.
    """

    def guided(x, t, cond):
        if not cond:
            raise ValueError(
                f"guidance_scale={guidance_scale}: classifier-free guidance needs a condition"
            )
        kept = {f"{k}_kept": jnp.ones(len(c), bool) for k, c in drop(cond).items() if k in cond}
        both = jax.tree.map(lambda *c: jnp.concatenate(c), kept | dict(cond), drop(cond))
        double = lambda a: jnp.concatenate([a, a])
        prediction = denoiser(double(x), double(t), both)

        def extrapolate(value):
            conditional, unconditional = jnp.split(value, 2)
            return unconditional + guidance_scale * (conditional - unconditional)

        return Prediction(x0=extrapolate(prediction.x0), noise=extrapolate(prediction.noise))

    return guided
