"""Distributions for which the denoiser, the density and the flow are known in closed form."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Key

from jaxdiff.diffusion.process import Process
from jaxdiff.trees import pytree
from jaxdiff.typing import Cond, Prediction


@pytree()
@dataclass(frozen=True)
class Gaussian:
    """Data of mean `mean` [d] and one standard deviation `std`, at every noise level."""

    process: Process
    mean: Float[Array, " d"]
    std: float

    def __call__(self, x: Float[Array, "b d"], t: Float[Array, " b"], cond: Cond) -> Prediction:
        """Returns the posterior means of x0 and noise given x_t."""
        alpha, sigma = self.process.at(t, x)
        innovation = (x - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)
        return Prediction(x0=self.mean + alpha * self.std**2 * innovation, noise=sigma * innovation)

    def flow(
        self, x: Float[Array, "b d"], t: Float[Array, " b"], s: Float[Array, " b"]
    ) -> Float[Array, "b d"]:
        """Returns the exact probability-flow solution at time s, from x at time t."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.process.at(t, x), self.process.at(s, x)
        spread = lambda alpha, sigma: jnp.sqrt(alpha**2 * self.std**2 + sigma**2)
        standard = (x - alpha_t * self.mean) / spread(alpha_t, sigma_t)
        return alpha_s * self.mean + spread(alpha_s, sigma_s) * standard


@pytree()
@dataclass(frozen=True)
class GaussianMixture:
    """Data from a mixture: `weights` [k], `means` [k, d], isotropic `stds` [k]."""

    process: Process
    weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    stds: Float[Array, " k"]

    def _components(self, t: Float[Array, " b"]):
        alpha, sigma = self.process.schedule.alpha(t), self.process.schedule.sigma(t)
        variance = (alpha[:, None] * self.stds) ** 2 + sigma[:, None] ** 2
        return alpha[:, None, None], sigma[:, None, None], variance

    def _log_joint(self, x, t):
        alpha, _, variance = self._components(t)
        squared = jnp.sum((x[:, None] - alpha * self.means) ** 2, axis=-1)
        dimensions = x.shape[-1]
        log_density = -0.5 * (squared / variance + dimensions * jnp.log(2 * jnp.pi * variance))
        return jnp.log(self.weights) + log_density

    def log_density(self, x: Float[Array, "b d"], t: Float[Array, " b"]) -> Float[Array, " b"]:
        """Returns log p_t(x)."""
        return jax.nn.logsumexp(self._log_joint(x, t), axis=-1)

    def __call__(self, x: Float[Array, "b d"], t: Float[Array, " b"], cond: Cond) -> Prediction:
        """Returns the posterior means of x0 and noise given x_t."""
        responsibility = jax.nn.softmax(self._log_joint(x, t), axis=-1)[..., None]
        alpha, sigma, variance = self._components(t)
        innovation = (x[:, None] - alpha * self.means) / variance[..., None]
        x0 = self.means + alpha * self.stds[:, None] ** 2 * innovation
        average = lambda each: jnp.sum(responsibility * each, axis=1)
        return Prediction(x0=average(x0), noise=average(sigma * innovation))

    def sample(self, keys: Key[Array, " b"]) -> Float[Array, "b d"]:
        """Draws data, one example per key."""

        def draw(key):
            which, noise = jax.random.split(key)
            k = jax.random.categorical(which, jnp.log(self.weights))
            return self.means[k] + self.stds[k] * jax.random.normal(noise, self.means.shape[1:])

        return jax.vmap(draw)(keys)

    def _cdf(self, x, t):
        alpha, _, variance = self._components(t)
        standard = (x - alpha[..., 0] * self.means[:, 0]) / jnp.sqrt(variance)
        return jnp.sum(self.weights * norm.cdf(standard), axis=-1)

    def flow(
        self, x: Float[Array, "b 1"], t: Float[Array, " b"], s: Float[Array, " b"]
    ) -> Float[Array, "b 1"]:
        """Returns the exact probability-flow solution at time s, from x at time t, for d = 1.

        In one dimension the flow is monotone and carries p_t to p_s, so it maps quantiles to
        quantiles: F_s(x_s) = F_t(x_t), solved by bisection.
        """
        target = self._cdf(x, t)
        alpha, _, variance = self._components(s)
        reach = 12 * jnp.sqrt(variance)
        low = jnp.min(alpha[..., 0] * self.means[:, 0] - reach, axis=-1, keepdims=True)
        high = jnp.max(alpha[..., 0] * self.means[:, 0] + reach, axis=-1, keepdims=True)

        def halve(_, interval):
            low, high = interval
            middle = (low + high) / 2
            below = (self._cdf(middle, s) < target)[:, None]
            return jnp.where(below, middle, low), jnp.where(below, high, middle)

        low, high = jax.lax.fori_loop(0, 60, halve, (low, high))
        return (low + high) / 2
