"""A loss divided by its expected size at each noise level, which is learned."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxdiff import options
from jaxdiff.options import Width, checked
from jaxdiff.typing import Cond, Draw, Metrics, Objective, Roles

REACH = 20.0
"""The uncertainty is constant beyond a log-SNR of ± this."""


@checked
@dataclass(frozen=True)
class LearnedUncertainty:
    """loss/e^u + u of another objective, with u(logSNR) learned (Karras et al. 2024, eq. 15).

    At its best e^u is the mean loss at a noise level, so that all levels have the same weight, and
    an optimal network remains optimal. u is a series of `features` cosines over the log-SNR, zero
    at the start. In a config: `objective = "LearnedUncertainty(of=Denoising())"`.

    Raises:
        ValueError: there are no features.
    """

    of: Objective
    features: Width = 32
    params: options.Learned = None

    def init(self) -> Float[Array, " features"]:
        """Returns the coefficients of u = 0."""
        return jnp.zeros(self.features)

    def bind(self, params: Float[Array, " features"]) -> "LearnedUncertainty":
        """Returns the objective with these coefficients."""
        return replace(self, params=params)

    def uncertainty(self, logsnr: Float[Array, "b *frames"]) -> Float[Array, "b *frames"]:
        """Returns u, the logarithm of the expected loss."""
        params = self.init() if self.params is None else self.params
        place = (jnp.clip(logsnr, -REACH, REACH) + REACH) / (2 * REACH)
        return jnp.cos(jnp.pi * place[..., None] * jnp.arange(self.features)) @ params

    def __call__(
        self,
        roles: Roles,
        x0: Float[Array, "b *shape"],
        cond: Cond,
        draw: Draw,
        step: Integer[Array, ""],
    ) -> tuple[Float[Array, "b *frames"], Metrics]:
        """Returns the loss [b, *frames]; the metrics have the other objective's as "plain_loss"."""
        loss, metrics = self.of(roles, x0, cond, draw, step)
        importance = metrics.get("importance", jnp.ones_like(loss))
        u = self.uncertainty(metrics["logsnr"])
        plain = {"plain_loss": loss / importance, "uncertainty": u}
        return loss * jnp.exp(-u) + importance * u, {**metrics, **plain}
