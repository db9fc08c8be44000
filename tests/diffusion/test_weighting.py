"""Weights against their papers' formulas, in every parameterization and at both ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.config.build import build, names
from jaxdiff.diffusion import parameterizations, schedules, weighting
from jaxdiff.diffusion.process import Process

ROWS = [
    parameterizations.x0,
    parameterizations.noise,
    parameterizations.score,
    parameterizations.v,
    parameterizations.velocity,
    parameterizations.edm(0.5),
]
SCHEDULES = ["Cosine()", "LinearBeta()", "RectifiedFlow()", "EDM()", "SubVP()"]
# Every array has one shape, so that each operation is compiled once.
T = np.linspace(0.01, 0.99, 101)
ENDS = np.float32(np.r_[np.zeros(25), np.full(25, 1e-6), np.full(25, 1 - 6e-8), np.ones(26)])


def process_of(spec):
    return Process(build(schedules, spec))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# On which error, and what the paper multiplies it by there.
PAPERS = {
    "SNR()": ("noise", lambda snr, slope: 1.0),
    "TruncatedSNR()": ("x0", lambda snr, slope: np.maximum(snr, 1)),
    "MinSNR(gamma=3.0)": ("x0", lambda snr, slope: np.minimum(snr, 3)),
    "P2(k=2.0, gamma=0.5)": ("noise", lambda snr, slope: (2 + snr) ** -0.5),
    "ELBO()": ("noise", lambda snr, slope: 0.5 * slope),
    "Sigmoid(bias=-1.0)": ("noise", lambda snr, slope: 0.5 * slope * sigmoid(-1 - np.log(snr))),
    "Flow()": ("velocity", lambda snr, slope: 1.0),
    "EDM(data_std=0.7)": ("edm(data_std=0.7)", lambda snr, slope: 1.0),
}


def test_every_weighting_has_a_formula_here():
    """Fails if one is added without its paper's formula; `Simple` is one by definition."""
    assert {spec.partition("(")[0] for spec in PAPERS} == set(names(weighting)) - {
        "Simple",
        "Weighting",
    }


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("spec", PAPERS)
def test_weights_are_the_papers(spec, schedule):
    """Fails on a wrong power, cut or sign of a log-SNR; `slope` is -dlogSNR/dt."""
    with jax.enable_x64(True):
        process, t = process_of(schedule), jnp.asarray(T)
        logsnr, slope = jax.jvp(process.logsnr, (t,), (-jnp.ones_like(t),))
        row, formula = PAPERS[spec]
        weight = build(weighting, spec)(process, build(parameterizations, row), t)
        expected = formula(np.exp(logsnr), np.asarray(slope)) * np.ones(len(T))
        np.testing.assert_allclose(weight, expected, rtol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("spec", PAPERS)
def test_a_weighted_loss_is_the_same_in_every_parameterization(spec, schedule):
    """Fails if a weight forgets the determinant, or squares it twice."""
    with jax.enable_x64(True):
        process, t = process_of(schedule), jnp.asarray(T)
        weight = build(weighting, spec)
        alpha, sigma = np.asarray(process.schedule.alpha(t)), np.asarray(process.schedule.sigma(t))

        def loss(row):
            a, b = (np.asarray(coefficient) for coefficient in row(process.schedule, t))
            error = a - b * alpha / sigma  # of an x0 that is off by one, given x_t
            return np.asarray(weight(process, row, t)) * error**2

        expected = loss(parameterizations.x0)
        for row in ROWS[1:]:
            np.testing.assert_allclose(loss(row), expected, rtol=1e-9)


@pytest.mark.parametrize("schedule", [*SCHEDULES, "Sigmoid()"])
def test_weights_are_finite_at_the_ends(schedule):
    """In float32, wherever there is information: fails on an infinite SNR times zero."""
    process, ends = process_of(schedule), jnp.asarray(ENDS)
    determinant = lambda row: np.asarray(process.determinant(row, ends))
    informed = {row: np.isfinite(determinant(row)) & (determinant(row) != 0) for row in ROWS}
    for spec in PAPERS:
        has_limit = informed[parameterizations.velocity] | (spec != "Flow()")
        for row in ROWS:
            weight = np.asarray(build(weighting, spec)(process, row, ends))
            good = np.isfinite(weight) & (weight >= 0)
            assert np.all(good[informed[row] & has_limit]), (spec, row)


def test_min_snr_of_v_at_zero_terminal_snr():
    """min(SNR, gamma)/(SNR + 1) in v: 0 at alpha = 0 and 0 at sigma = 0, as the paper has it."""
    process = process_of("ZeroTerminalSNR(of=LinearBeta())")
    t = jnp.asarray(np.linspace(0.0, 1.0, 101, dtype=np.float32))
    weight = np.asarray(weighting.MinSNR(5.0)(process, parameterizations.v, t))
    snr = np.exp(process.logsnr(t))[1:]
    np.testing.assert_array_equal(weight[[0, -1]], 0)
    np.testing.assert_allclose(weight[1:], np.minimum(snr, 5) / (snr + 1), rtol=1e-5)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"gamma is 0.0"):
        weighting.MinSNR(gamma=0.0)
    with pytest.raises(ValueError, match=r"P2.k is -1.0; expected a number above 0"):
        weighting.P2(k=-1.0)
