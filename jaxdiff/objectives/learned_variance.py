"""Denoising with a learned variance: the hybrid loss."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Integer

from jaxdiff import random
from jaxdiff.diffusion.likelihood.quantization import bins, log_interval
from jaxdiff.diffusion.process import Parameterization, Process, expand
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import Weighting
from jaxdiff.options import Between, Levels, NonNegativeFloat, checked
from jaxdiff.typing import Cond, Draw, Metrics, Prediction, Roles


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

    def __call__(
        self,
        roles: Roles,
        x0: Float[Array, "b *shape"],
        cond: Cond,
        draw: Draw,
        step: Integer[Array, ""],
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the loss [b], its mean over the values of each example.

        Raises:
            ValueError: the student predicts no variance.
        """
        t, importance = self.time_sampling(self.process, draw)
        truth = Prediction(x0, random.normal(random.stream(draw.keys, "noise"), x0))
        prediction = roles.student(self.process.perturb(truth, t), t, cond)
        if prediction.variance is None:
            raise ValueError(
                "LearnedVariance: the network predicts no variance; set network.out_channels to "
                f"{2 * x0.shape[-1]}, twice the channels of x"
            )
        read = lambda p: self.process.read(self.parameterization, p, t)
        mean = lambda values: jnp.mean(values, axis=range(1, x0.ndim))
        error = mean((read(prediction) - read(truth)) ** 2)
        bound = self.steps * mean(self._term(prediction, x0, expand(t, x0))) / jnp.log(2)
        loss = self.weighting(self.process, self.parameterization, t) * error
        metrics = {"logsnr": self.process.logsnr(t), "importance": importance}
        metrics |= {"squared_error": error, "bound": bound}
        return importance * (loss + self.bound_weight * bound), metrics

    def _term(self, prediction, x0, t):
        """Returns the bound's term of the step from t to s = t - 1/steps, in nats."""
        x0_hat = jax.lax.stop_gradient(prediction.x0)
        s = t - 1 / self.steps
        last = s < 0.5 / self.steps
        s = jnp.where(last, 0.0, s)
        # The posterior of the last step has no variance: that of the step before stands in.
        t_small = jnp.where(last, 2 / self.steps, t)
        small, _ = _log_variances(self.process, t_small, t_small - 1 / self.steps)
        _, large = _log_variances(self.process, t, s)
        wider = prediction.variance * (large - small)
        log_variance = small + wider

        # The posterior means differ by alpha_s·(1 - SNR_t/SNR_s) times the error in x0.
        gain = self.process.schedule.alpha(s) * _fresh(self.process, t, s)
        squared = (gain * (x0 - x0_hat)) ** 2
        divergence = 0.5 * (wider + jnp.expm1(-wider) + squared * jnp.exp(-log_variance))
        # Where the term is not used, an error that is far out of range would make its slope NaN.
        x0_hat = jnp.where(last, x0_hat, x0)
        decoder = -_log_likelihood(x0, x0_hat, jnp.exp(0.5 * log_variance), self.levels)
        return jnp.where(last, decoder, divergence)


def _fresh(process, t, s):
    """Returns 1 - SNR_t/SNR_s: the share of the noise at t that is new since s."""
    return -jnp.expm1(process.logsnr(t) - process.logsnr(s))


def _log_variances(process, t, s):
    """Returns the logarithms of the variances of q(x_s|x_t, x0), and of the forward step."""
    log_sigma = lambda t: jnp.log(process.schedule.sigma(t))
    log_fresh = jnp.log(_fresh(process, t, s))
    return log_fresh + 2 * log_sigma(s), log_fresh + 2 * log_sigma(t)


def _log_likelihood(x0, mean, std, levels):
    """Returns the log-probability of a level's bin under a normal distribution, or the density."""
    if levels is None:
        return norm.logpdf(x0, mean, std)
    lower, upper = bins(x0, levels)
    # The outermost bins have no end; infinities in its place would have no slope.
    low = jnp.where(lower < -1, -1e4, (lower - mean) / std)
    high = jnp.where(upper > 1, 1e4, (upper - mean) / std)
    return log_interval(low, high)
