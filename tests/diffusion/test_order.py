"""Every solver against the exact probability flow of a Gaussian mixture, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.config.build import build
from jaxdiff.diffusion import oracles, schedules, solvers
from jaxdiff.diffusion.analysis import convergence
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import sample
from jaxdiff.diffusion.timesteps import Uniform

PROCESSES = {
    "cosine": Process(schedules.Cosine()),
    "rectified_flow": Process(schedules.RectifiedFlow()),
    "edm": Process(schedules.EDM(sigma_max=20.0)),
}
ORDERS = {
    "Euler": 1,
    "DDIM": 1,
    "Heun": 2,
    "Midpoint": 2,
    "RK4": 4,
    "DPMSolver2": 2,
    "DPMSolver3": 3,
    "DPMpp2S": 2,
    "LMS(order=2)": 2,
    "LMS(order=3)": 3,
    "DEIS(order=2)": 2,
    "DEIS(order=3)": 3,
    "IPNDM": 2,
    "PLMS": 2,
    "PNDM": 2,
    "DPMpp2M": 2,
    "DPMpp3M": 3,
    "UniPC(order=1)": 2,
    "UniPC(order=2)": 3,
    "UniPC(order=2, variant='bh1')": 3,
    "UniPC(order=3, variant='bh1')": 4,
    "SASolver(predictor=2, corrector=0, tau=0.0)": 2,
}
"""The theory's; UniPC's corrector adds one to its name, iPNDM's weights are for even steps."""
QUICK = ["Heun", "RK4", "DPMSolver3", "LMS(order=3)", "DPMpp2M", "DPMpp3M"]
QUICK += ["UniPC(order=3, variant='bh1')"]


@pytest.mark.parametrize("name", QUICK)
def test_order_is_the_theory_s_between_two_noise_levels(name):
    """Fails if Heun averages wrong slopes, or a multistep method's weights are a little off.

    Such as the factor 2 that is commonly missing in the 3M method's second difference. Of UniPC, if
    exact starts leave the corrector an x of its own: order 2.7.
    """
    with jax.enable_x64(True):
        process = list(PROCESSES.values())[QUICK.index(name) % 3]
        solver = build(solvers, name, process=process)
        assert abs(convergence.order(solver, process) - ORDERS[name]) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ORDERS, "LMS", "UniPC(order=3)"])
def test_order_is_the_theory_s_on_every_process(name):
    """Fails if a solver knows a schedule."""
    with jax.enable_x64(True):
        bases = tuple(process.schedule for process in PROCESSES.values())
        times = [convergence.interior(p, n) for n in (128, 256) for p in PROCESSES.values()]

        def measure(index, times):
            process = Process(convergence.OneOf(bases, index))
            return convergence.distance(build(solvers, name, process=process), process, times, 4)

        index = jnp.arange(len(times)) % len(bases)
        found = jax.jit(jax.vmap(measure))(index, convergence.padded(times)).reshape(2, -1)
        expected = {**ORDERS, "LMS": 4, "UniPC(order=3)": 4}[name]
        np.testing.assert_allclose(np.log2(found[0] / found[1]), expected, atol=0.15)


@pytest.mark.parametrize(
    ("name", "start", "lowest"),
    [("DDIM", 1.0, 0.85), ("DPMpp2M", 1.0, 1.6), ("Heun", 0.9, 1.85), ("Heun", 1.0, 1.4)],
)
def test_order_survives_the_ends(name, start, lowest):
    """Steps from alpha = 0 and to sigma = 0 keep the order; fails if 2M extrapolates there.

    From pure noise λ is infinite, so a grid even in t makes 2M lose a logarithm, and Heun's
    trapezoid in sigma/alpha tends to order 1 with a small constant.
    """
    with jax.enable_x64(True):
        process = PROCESSES["cosine"]
        solver = getattr(solvers, name)(process)
        grids = [Uniform(start)(process, n) for n in (16, 256)]
        coarse, fine = convergence.errors(solver, process, grids)
        assert np.log(coarse / fine) / np.log(16) > lowest
        assert fine < 5e-3


@pytest.mark.parametrize(
    ("name", "first", "each"), [("Euler", 1, 1), ("RK4", 4, 4), ("UniPC", 1, 1), ("PNDM", 12, 1)]
)
def test_evaluations_are_counted(name, first, each):
    """Fails if UniPC's corrector asks the denoiser again, or a step does more than it needs."""
    process = PROCESSES["cosine"]
    asked = convergence.evaluations(build(solvers, name, process=process), process)
    assert asked[2 if name == "PNDM" else 0] == first
    assert asked[-1] - asked[-2] == each


@pytest.mark.parametrize(
    ("asked", "budget", "steps"),
    [([2, 4, 6], 5, 2), ([4, 8, 12, 13], 10, 2), ([4, 8, 12, 13], 20, 11), ([4, 8], 3, 1)],
)
def test_a_budget_of_evaluations_is_not_exceeded(asked, budget, steps):
    """Fails if what the first steps ask is taken for what all of them ask."""
    assert convergence.steps_within(asked, budget) == steps


def test_the_weak_error_is_that_of_samples():
    """Of a solver that draws twice a step: fails if two draws share a coordinate, or none."""
    process = PROCESSES["cosine"]
    solver, times = solvers.DPMppSDE(process), convergence.interior(process, 6)
    gaussian = oracles.Gaussian(process, jnp.full(1, 0.5), 0.4)
    # Points are the dimensions of one example: its time is one.
    keys, z = random.example_keys(jax.random.key(0), jnp.arange(1)), jax.random.key(1)
    alpha, sigma = process.schedule.alpha(times), process.schedule.sigma(times)
    std = jnp.hypot(0.4 * alpha, sigma)
    x = alpha[0] * 0.5 + std[0] * jax.random.normal(z, (1, 2**17))
    x = jax.jit(lambda x: sample(solver, gaussian, x, times, {}, keys))(x)
    found = abs(x.mean() - alpha[-1] * 0.5) / std[-1] + abs(x.std() / std[-1] - 1)
    expected = jax.jit(lambda times: convergence.weak_error(solver, process, times))(times)
    assert expected > 0.03
    np.testing.assert_allclose(found, expected, atol=0.008)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("DDPM", 1), ("DPM2Ancestral", 2), ("SASolver(predictor=1, corrector=1)", 1)],
)
def test_weak_order_is_the_theory_s(name, expected):
    """Fails if noise that is added has another deviation than the noise that was taken."""
    with jax.enable_x64(True):
        process = PROCESSES["cosine"]
        solver = build(solvers, name, process=process)
        times = convergence.padded([convergence.interior(process, n) for n in (128, 256)])
        measure = lambda times: convergence.weak_error(solver, process, times)
        coarse, fine = jax.jit(jax.vmap(measure))(times)
        assert abs(np.log2(coarse / fine) - expected) < 0.15


@pytest.mark.slow
def test_adaptive_steps_reach_their_tolerance():
    """One step from pure noise to data: fails if the angle or its ends are wrong."""
    pytest.importorskip("diffrax")
    with jax.enable_x64(True):
        process = PROCESSES["cosine"]
        solver = solvers.Adaptive(process, rtol=1e-8, atol=1e-8)
        assert convergence.errors(solver, process, [jnp.array([1.0, 0.0])])[0] < 1e-5
