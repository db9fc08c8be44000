"""The variational bound against closed forms, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.diffusion import oracles
from jaxdiff.diffusion.likelihood.bound import even_times
from jaxdiff.typing import Prediction
from tests.support.mixtures import PROCESSES, bound, density, keys_of, mixture, points


@pytest.mark.parametrize(
    ("process", "variance"), [("edm", "small"), ("cosine", "large"), ("cosine", "learned")]
)
def test_every_term_of_the_bound_of_a_gaussian(process, variance):
    """Closed form: fails if a term has the wrong SNR, loses its ½, or a share of 1 is "small"."""
    with jax.enable_x64(True):
        process, n, mean, std, x0 = PROCESSES[process], 4000, 0.3, 0.5, 0.9
        oracle = oracles.Gaussian(process, jnp.array([mean]), std)
        times = jnp.array([1.0, 0.5, 0.1, 0.02, 0.0])
        x = jnp.full((n, 1), x0)
        if variance == "learned":
            as_large = lambda x, t, cond: oracle(x, t, cond)._replace(variance=jnp.ones_like(x))
            got = bound(process, as_large, x, keys_of(n), times)
        else:
            got = bound(process, oracle, x, keys_of(n), times, variance=variance)
        alpha, sigma = process.schedule.alpha(times), process.schedule.sigma(times)
        total = (alpha * std) ** 2 + sigma**2
        bias, noise = (mean - x0) * sigma**2 / total, alpha * sigma * std**2 / total
        squared, snr = (bias**2 + noise**2)[:-1], (alpha / sigma)[:-1] ** 2
        ratio = (sigma[1:-1] / sigma[:-2]) ** 2 if variance != "small" else 1.0
        steps = 0.5 * (ratio - 1 - jnp.log(ratio) + ratio * (snr[1:] - snr[:-1]) * squared[:-1])
        decoder = 0.5 * (jnp.log(2 * jnp.pi * sigma[-2] ** 2) + squared[-1] / sigma[-2] ** 2)
        np.testing.assert_allclose(got.prior, 0.5 * snr[0] * x0**2, rtol=1e-9)
        terms = np.concatenate([got.steps, got.decoder[None]])
        error = terms.std(axis=1) / n**0.5
        expected = np.append(steps, decoder)
        assert np.all(np.abs(terms.mean(axis=1) - expected) < 4 * error + 1e-12)


def test_a_learned_variance_lies_between_its_two_ends_in_the_logarithm():
    """Two steps of one that knows no x; fails if the decoder's small end is another's, or large."""
    with jax.enable_x64(True):
        process, share, x0 = PROCESSES["cosine"], 0.4, 0.9
        blind = lambda x, t, cond: Prediction(jnp.full_like(x, 0.3), x, jnp.full_like(x, share))
        times = jnp.array([0.8, 0.5, 0.3, 0.0])
        got = bound(process, blind, jnp.full((1, 1), x0), keys_of(1), times)
        alpha, sigma = (
            np.asarray(f(times)) for f in (process.schedule.alpha, process.schedule.sigma)
        )
        snr = (alpha[:-1] / sigma[:-1]) ** 2
        fresh = 1 - snr[:-1] / snr[1:]  # the share of a step's noise that is new
        small, large = sigma[1:-1] ** 2 * fresh, sigma[:-2] ** 2 * fresh
        variance = large**share * small ** (1 - share)
        squared = (alpha[1:-1] * fresh * (x0 - 0.3)) ** 2
        steps = 0.5 * (np.log(variance / small) - 1 + (small + squared) / variance)
        np.testing.assert_allclose(got.steps[:, 0], steps, rtol=1e-9)
        last = sigma[2] ** 2 * fresh[1] ** (1 - share)
        decoder = 0.5 * (np.log(2 * np.pi * last) + (x0 - 0.3) ** 2 / last)
        np.testing.assert_allclose(got.decoder[0], decoder, rtol=1e-9)


def test_the_bound_falls_to_the_negative_log_likelihood():
    """Its gap is as 1/steps; fails on a step too few or a noisy example at the wrong time."""
    with jax.enable_x64(True):
        process, x = PROCESSES["cosine"], points(1000, 1)
        oracle, keys = mixture(process), keys_of(1000, 1)

        def gap(steps):
            times = jax.jit(lambda: even_times(process, 1e-3, steps))()
            return np.asarray(bound(process, oracle, x, keys, times).total + density(oracle, x))

        coarse, fine = gap(30), gap(120)
        assert coarse.mean() > fine.mean() > 4 * fine.std() / 1000**0.5
        assert 3 < coarse.mean() / fine.mean() < 5


@pytest.mark.parametrize("process", ["cosine", "edm"])
def test_the_continuous_bound_of_an_exact_denoiser_is_tight(process):
    """Fails if the slope of SNR is wrong, or the strata leave a part of the times out."""
    with jax.enable_x64(True):
        process, x = PROCESSES[process], points(4000, 1)
        oracle = mixture(process)
        gap = bound(process, oracle, x, keys_of(4000, 1), strata=10).total + density(oracle, x)
        assert abs(jnp.mean(gap)) < 3 * jnp.std(gap) / 4000**0.5


def test_the_decoder_s_probabilities_add_up_to_one():
    """Fails if the outermost bins end, or bins overlap where levels were rounded to bytes."""
    with jax.enable_x64(True):
        process = PROCESSES["cosine"]
        constant = lambda x, t, cond: Prediction(jnp.full_like(x, 0.3), x)
        x = jnp.round(jnp.linspace(0, 255, 17))[:, None] / 127.5 - 1
        times = jnp.array([1.0, 0.9, 0.5, 0.0])
        decoder = bound(process, constant, x, keys_of(17), times, levels=17).decoder
        np.testing.assert_allclose(jnp.sum(jnp.exp(-decoder)), 1, rtol=1e-9)


def test_a_bound_of_one_step_is_refused():
    """Fails if a count of zero runs and gives NaN."""
    with pytest.raises(ValueError, match="steps=1"):
        even_times(PROCESSES["cosine"], 1e-3, 1)
