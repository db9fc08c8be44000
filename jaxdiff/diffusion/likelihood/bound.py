"""The variational bound on the negative log-likelihood, of the discrete and the continuous process.

Every expectation over noise is one draw for each example and term, from the example's key.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.diffusion.likelihood.angle import nodes, span
from jaxdiff.diffusion.likelihood.quantization import bins, log_interval
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.typing import Cond, Data, Denoiser, Prediction


class Bound(NamedTuple):
    """The terms of a bound, in nats per example."""

    prior: Float[Array, " b"]
    """L_T: from the noisiest x_t to the prior."""
    steps: Float[Array, "n b"]
    """L_{t-1} for each step down to the least noise, the noisiest first."""
    decoder: Float[Array, " b"]
    """L_0: from the least noise to the data."""

    @property
    def total(self) -> Float[Array, " b"]:
        """Returns the bound."""
        return self.prior + jnp.sum(self.steps, axis=0) + self.decoder


def even_times(process: Process, noise_level: float, steps: int) -> Float[Array, " times"]:
    """Returns steps + 1 times from 1 to 0, evenly spaced in log(φ) down to `noise_level`."""
    _check_steps(steps)
    inner = process.time_of_angle(nodes(*span(process, noise_level), steps - 1)[:-1])
    return jnp.concatenate([jnp.ones(1, inner.dtype), inner[::-1], jnp.zeros(1, inner.dtype)])


def variational_bound(
    process: Process,
    denoiser: Denoiser,
    x0: Data,
    cond: Cond,
    times: Float[Array, " times"],
    keys: Key[Array, " b"],
    *,
    levels: int | None = None,
    variance: Literal["small", "large"] = "small",
) -> Bound:
    """Returns the bound of ancestral sampling on a grid (Ho et al. 2020, eq. 5).

    `times` decrease to 0, as a solver's do. The steps have the `variance` of the posterior given x0
    or of the forward step, as in `DDPM`, or the learned one where the denoiser has one. With
    `levels`, the decoder gives the probability of a level's bin (eq. 13), else a density.

    Raises:
        ValueError: there are not two steps.
    """
    _check_steps(len(times) - 1)
    keys = random.stream(keys, "bound")

    def step(_, at):
        t, s, index = at
        return None, _step(process, denoiser, x0, cond, t, s, random.fold_in(keys, index), variance)

    _, steps = jax.lax.scan(step, None, (times[:-2], times[1:-1], jnp.arange(len(times) - 2)))
    keys = random.stream(keys, "decoder")
    return Bound(
        prior=_prior(process, x0, times[0]),
        steps=steps,
        decoder=_decoder(process, denoiser, x0, cond, times[-2], keys, levels, before=times[-3]),
    )


def continuous_bound(
    process: Process,
    denoiser: Denoiser,
    x0: Data,
    cond: Cond,
    keys: Key[Array, " b"],
    *,
    strata: int = 100,
    noise_level: float = 1e-3,
    levels: int | None = None,
) -> Bound:
    """Returns the limit of infinitely many steps (Kingma et al. 2021, section 4), unbiased.

    ½∫|x0 - x0'|² dSNR = ∫ SNR·|x0 - x0'|²/(sin(φ)·cos(φ)) dφ with SNR = cot²(φ), by one draw of φ
    in each of `strata` intervals of log(φ), each its example's own.
    """
    if strata < 1:
        raise ValueError(f"strata={strata}: at least 1")
    keys = random.stream(keys, "bound")
    start, end = span(process, noise_level)
    width = jnp.log(end / start) / strata

    def draw(_, index):
        key = random.fold_in(keys, index)
        place = index + random.uniform(random.stream(key, "time")).astype(x0.dtype)
        angle = (end * jnp.exp(-width * place)).astype(x0.dtype)
        t = process.time_of_angle(angle)
        error = denoiser(_noisy(process, x0, t, key), t, cond).x0 - x0
        # SNR/(sin·cos) = cos/sin³, times dφ/dlog(φ) = φ.
        return None, width * angle * jnp.cos(angle) / jnp.sin(angle) ** 3 * _sum(error**2)

    _, steps = jax.lax.scan(draw, None, jnp.arange(strata))
    keys = random.stream(keys, "decoder")
    return Bound(
        prior=_prior(process, x0, jnp.ones((), x0.dtype)),
        steps=steps,
        decoder=_decoder(process, denoiser, x0, cond, process.time_of_angle(start), keys, levels),
    )


def _step(process, denoiser, x0, cond, t, s, keys, variance):
    """KL(q(x_s|x_t, x0) || p(x_s|x_t)), of Gaussians; p's may be `wider`, by its log-variance.

    Where it is not, this is ½(SNR_s - SNR_t)·|x0 - x0'|² (Kingma et al. 2021, section 4).
    """
    t = jnp.broadcast_to(t, len(x0))
    prediction = denoiser(_noisy(process, x0, t, keys), t, cond)
    share = {"small": 0.0, "large": 1.0}[variance]
    share = share if prediction.variance is None else prediction.variance
    log_sigma = lambda t: expand(jnp.log(process.schedule.sigma(t)), x0)
    wider = share * 2 * (log_sigma(t) - log_sigma(s))
    gain = expand(_snr(process, s) - _snr(process, t), x0)
    squared = gain * (prediction.x0 - x0) ** 2
    return 0.5 * _sum(wider + jnp.expm1(-wider) + squared * jnp.exp(-wider))


def _prior(process, x0, t):
    """KL(N(alpha·x0, sigma²) || N(0, sigma²))."""
    return 0.5 * _snr(process, t) * _sum(x0**2)


def _decoder(process, denoiser, x0, cond, t, keys, levels, before=None):
    """-log p(x0|x_t) with the predicted mean and variance sigma², or the learned one.

    That lies between the posterior's of the step `before` and sigma², as when it was trained.
    """
    t = jnp.broadcast_to(t, len(x0))
    mean, _, share = denoiser(_noisy(process, x0, t, keys), t, cond)
    std = expand(process.schedule.sigma(t), x0)
    if share is not None and before is not None:
        fresh = 1 - _snr(process, before) / _snr(process, t)
        std = std * jnp.sqrt(expand(fresh, x0)) ** (1 - share)
    if levels is None:
        return -_sum(norm.logpdf(x0, mean, std))
    lower, upper = bins(x0, levels)
    # The first and the last level's bins have no end: the probabilities add up to one.
    lower = jnp.where(lower < -1, -jnp.inf, lower)
    upper = jnp.where(upper > 1, jnp.inf, upper)
    return -_sum(log_interval((lower - mean) / std, (upper - mean) / std))


def _noisy(process, x0, t, keys):
    return process.perturb(Prediction(x0, random.normal(random.stream(keys, "noise"), x0)), t)


def _snr(process, t):
    return (process.schedule.alpha(t) / process.schedule.sigma(t)) ** 2


def _sum(x):
    return jnp.sum(x.reshape(len(x), -1), axis=1)


def _check_steps(steps):
    if steps < 2:
        raise ValueError(f"steps={steps}: the bound has at least 2, to little noise and to none")
