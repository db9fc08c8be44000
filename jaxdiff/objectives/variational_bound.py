"""The variational bound on the likelihood as a loss, with a schedule that may be learned."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from einops import reduce
from jax.core import Tracer
from jaxtyping import Array, Float, Integer, Key

from jaxdiff import random
from jaxdiff.diffusion.parameterizations import noise
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.schedules import Learned
from jaxdiff.diffusion.time_sampling import TimeSampling
from jaxdiff.diffusion.weighting import ELBO
from jaxdiff.objectives.one_time import one_time
from jaxdiff.options import Levels, checked
from jaxdiff.typing import Cond, Data, Draw, Metrics, Prediction, Roles, Time


@checked
@dataclass(frozen=True)
class VariationalBound:
    """Bits per dimension: prior + diffusion + reconstruction (Kingma et al. 2021, eq. 11, 15).

    The diffusion loss is that of continuous time, ½·E_t[-dlogSNR/dt·|noise - noise'|²]. Data have
    `levels` values in [-1, 1]; each value is decoded from x_0 by itself, a level in proportion to
    the density of x_0 given that level. The process needs noise at t = 0 and nearly nothing else at
    t = 1.

    A `schedules.Learned` takes part: its ends by the gradient of the bound, its shape by that of
    the second moment of the diffusion loss, which is the variance of the estimate (appendix I.2).

    Raises:
        ValueError: levels is less than 2, or there is no noise at t = 0.
    """

    process: Process
    time_sampling: TimeSampling
    levels: Levels = 256

    def __post_init__(self):
        sigma = self.process.schedule.sigma(jnp.zeros(()))
        if not isinstance(sigma, Tracer) and sigma == 0:
            raise ValueError(
                f"VariationalBound: {self.process.schedule} has no noise at t = 0, from where the "
                "data are decoded; take process='Learned'"
            )

    def __call__(
        self, roles: Roles, x0: Data, cond: Cond, draw: Draw, step: Integer[Array, ""]
    ) -> tuple[Float[Array, " b"], Metrics]:
        """Returns the bound [b] in bits per dimension, and its three parts."""
        return one_time(self, roles, self._level(self._index(x0), x0.dtype), cond, draw, step)

    def loss(
        self, prediction: Prediction, truth: Prediction, t: Time, keys: Key[Array, " b"]
    ) -> tuple[Time, Metrics]:
        """Returns the bound of data that lie at the levels, and its three parts."""
        x0, bits = truth.x0, truth.x0[0].size * jnp.log(2)
        error = _sum((prediction.noise - truth.noise) ** 2) / bits
        parts = {
            "prior": self._prior(x0) / bits,
            "diffusion": ELBO()(self.process, noise, t) * error,
            "reconstruction": self._reconstruction(x0, random.stream(keys, "decoder")) / bits,
        }
        bound = parts["prior"] + parts["diffusion"] + parts["reconstruction"]
        if isinstance(self.process.schedule, Learned):
            moment = self._second_moment(t, jax.lax.stop_gradient(error))
            bound += moment - jax.lax.stop_gradient(moment)
        return bound, parts

    def _index(self, x0):
        return jnp.round((x0 + 1) / 2 * (self.levels - 1)).astype(int)

    def _level(self, index, dtype):
        return jnp.linspace(-1, 1, self.levels, dtype=dtype)[index]

    def _prior(self, x0):
        """KL(q(x_1|x_0) || N(0, 1)), which has no other parameters than the schedule's."""
        alpha, sigma = self.process.at(jnp.ones(len(x0), x0.dtype), x0)
        return 0.5 * _sum((alpha * x0) ** 2 + sigma**2 - 1 - 2 * jnp.log(sigma))

    def _reconstruction(self, x0, keys):
        """-log p(x0|x_0), normalised over the levels."""
        alpha, sigma = self.process.at(jnp.zeros(len(x0), x0.dtype), x0)
        x = x0 + sigma / alpha * random.normal(keys, x0)
        distance = x[..., None] - jnp.linspace(-1, 1, self.levels, dtype=x0.dtype)
        logits = -0.5 * (distance * (alpha / sigma)[..., None]) ** 2
        index = self._index(x0)[..., None]
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), index, axis=-1)
        return -_sum(log_p)

    def _second_moment(self, t, error):
        """E[diffusion²] as a function of the schedule's shape, at the noise levels of `t`.

        With log-SNR as the variable, E_t[(½·slope·error)²] = ¼∫ slope·error² dlogSNR, where the
        error depends on the noise level alone: no gradient goes through the network. The time of
        a noise level follows the shape, to first order by one step of Newton's from t.
        """
        schedule: Any = self.process.schedule
        logsnr_of = schedule.logsnr_of_shape
        with_slope = lambda t: jax.jvp(logsnr_of, (t,), (jnp.ones_like(t),))
        fixed = jax.lax.stop_gradient
        logsnr, slope = with_slope(t)
        moved = t - (logsnr - fixed(logsnr)) / fixed(slope)
        return 0.25 * fixed(slope) * with_slope(moved)[1] * error**2


def _sum(x):
    return reduce(x, "b ... -> b", "sum")
