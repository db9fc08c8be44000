"""The variational bound on the negative log-likelihood, of the discrete and the continuous process.

Every expectation over noise is one draw for each example and term, from the example's key.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from einops import reduce
from jaxtyping import Array, Float, Key

from jaxdiff import random
from jaxdiff.diffusion.likelihood.angle import nodes, span
from jaxdiff.diffusion.likelihood.quantization import log_probability
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.typing import Cond, Data, Denoiser, Prediction, Time


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

    share = {"small": 0.0, "large": 1.0}[variance]

    def step(_, at):
        t, s, index = at
        return None, _step(process, denoiser, x0, cond, t, s, random.fold_in(keys, index), share)

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


def step_divergence(
    process: Process, x0: Data, prediction: Prediction, t: Time, s: Time, share: float = 0.0
) -> Data:
    """KL(q(x_s|x_t, x0) || p(x_s|x_t)) of each value, in nats, for s > 0.

    p's variance lies the `share` of the way, in the logarithm, from the posterior's (0) to that of
    the forward step (1); a share that the denoiser predicts takes its place. At the posterior's
    this is ½(SNR_s - SNR_t)·(x0 - x0')² (Kingma et al. 2021, section 4).
    """
    learned = prediction.variance is not None
    log_sigma = lambda t: expand(jnp.log(process.schedule.sigma(t)), x0)
    wider = (prediction.variance if learned else share) * 2 * (log_sigma(t) - log_sigma(s))
    gain = expand(_snr(process, s) * _fresh(process, t, s), x0)
    squared = gain * (prediction.x0 - x0) ** 2
    return 0.5 * (wider + jnp.expm1(-wider) + squared * jnp.exp(-wider))


def decoder_log_probability(
    process: Process,
    x0: Data,
    prediction: Prediction,
    t: Time,
    before: Time | None,
    levels: int | None,
) -> Data:
    """Returns log p(x0|x_t) of each value, with the predicted mean and variance sigma².

    A variance that the denoiser predicts lies between the posterior's of the step from the time
    `before` to t, and sigma². With `levels` it is the probability of a level's bin, else a density.
    """
    std = expand(process.schedule.sigma(t), x0)
    if prediction.variance is not None and before is not None:
        fresh = expand(_fresh(process, before, t), x0)
        std = std * jnp.sqrt(fresh) ** (1 - prediction.variance)
    return log_probability(x0, prediction.x0, std, levels)


def _step(process, denoiser, x0, cond, t, s, keys, share):
    t, s = (jnp.broadcast_to(time, len(x0)) for time in (t, s))
    prediction = denoiser(_noisy(process, x0, t, keys), t, cond)
    return _sum(step_divergence(process, x0, prediction, t, s, share))


def _prior(process, x0, t):
    """KL(N(alpha·x0, sigma²) || N(0, sigma²))."""
    return 0.5 * _snr(process, t) * _sum(x0**2)


def _decoder(process, denoiser, x0, cond, t, keys, levels, before=None):
    t = jnp.broadcast_to(t, len(x0))
    before = None if before is None else jnp.broadcast_to(before, len(x0))
    prediction = denoiser(_noisy(process, x0, t, keys), t, cond)
    return -_sum(decoder_log_probability(process, x0, prediction, t, before, levels))


def _noisy(process, x0, t, keys):
    return process.perturb(Prediction(x0, random.normal(random.stream(keys, "noise"), x0)), t)


def _snr(process, t):
    return (process.schedule.alpha(t) / process.schedule.sigma(t)) ** 2


def _fresh(process, t, s):
    """Returns 1 - SNR_t/SNR_s: the share of the noise at t that is new since s."""
    return -jnp.expm1(process.logsnr(t) - process.logsnr(s))


def _sum(x):
    return reduce(x, "b ... -> b", "sum")


def _check_steps(steps):
    if steps < 2:
        raise ValueError(f"steps={steps}: the bound has at least 2, to little noise and to none")
