"""Denoising with a learned variance: the hybrid loss."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxdiff.diffusion.likelihood.bound import decoder_log_probability, step_divergence
from jaxdiff.diffusion.process import Parameterization, Process, expand
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.objectives.one_time import mean_per_time, one_time, squared_error
from jaxdiff.options import Between, Levels, NonNegativeFloat, checked
from jaxdiff.typing import Metrics, Prediction, Time


@checked
@dataclass(frozen=True)
class LearnedVariance:
    """`Denoising` plus `bound_weight` times the variational bound (Nichol & Dhariwal 2021, 3.1).

    For a network that returns twice the channels of x. The bound is that of ancestral sampling in
    `steps` equal steps, for times drawn uniformly, in bits per dimension; it trains the variance
    alone. Data have `levels` values in [-1, 1], or a density for None, as latents have.
    """

    process: Process
    parameterization: Parameterization
    time_sampling: TimeSampling
    weighting: Weighting
    steps: Annotated[int, Between(2, 100_000)] = 1000
    bound_weight: NonNegativeFloat = 0.001
    levels: Levels | None = 256

    __call__ = one_time

    def loss(
        self, prediction: Prediction, truth: Prediction, t: Time, keys: Key[Array, " b"]
    ) -> tuple[Time, Metrics]:
        """Returns the loss [b], its mean over the values of each example.

        Raises:
            ValueError: the student predicts no variance.
        """
        x0 = truth.x0
        if prediction.variance is None:
            raise ValueError(
                "LearnedVariance: the network predicts no variance; set network.out_channels to "
                f"{2 * x0.shape[-1]}, twice the channels of x"
            )
        error = squared_error(self.process, self.parameterization, prediction, truth, t)
        bound = self.steps * mean_per_time(self._term(prediction, x0, t), t) / jnp.log(2)
        loss = self.weighting(self.process, self.parameterization, t) * error
        return loss + self.bound_weight * bound, {"squared_error": error, "bound": bound}

    def _term(self, prediction, x0, t):
        """Returns the bound's term of the step from t to t - 1/steps of each value, in nats."""
        one, two = 1 / self.steps, 2 / self.steps
        last = t < 1.5 * one
        x0_hat = jax.lax.stop_gradient(prediction.x0)
        # A term that is not used has harmless times and errors: its slope must not be NaN.
        t_step, s_step = jnp.where(last, two, t), jnp.where(last, one, t - one)
        step = prediction._replace(x0=x0_hat)
        divergence = step_divergence(self.process, x0, step, t_step, s_step)
        # The posterior of the last step has no variance: that of the step before stands in.
        t_last, before = jnp.where(last, t, one), jnp.full_like(t, two)
        end = prediction._replace(x0=jnp.where(expand(last, x0), x0_hat, x0))
        decoder = decoder_log_probability(self.process, x0, end, t_last, before, self.levels)
        return jnp.where(expand(last, x0), -decoder, divergence)
