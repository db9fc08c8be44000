"""Every solver against the exact probability flow of a Gaussian mixture, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.build import build
from jaxdiff.diffusion import convergence, schedules, solvers
from jaxdiff.diffusion.process import Process
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
    "SASolver(predictor=2, corrector=0, tau=0.0)": 2,
}
"""The theory's; UniPC's corrector adds one to its name, iPNDM's weights are for even steps."""
QUICK = ["Heun", "RK4", "DPMSolver3", "LMS(order=3)", "DPMpp2M", "DPMpp3M", "UniPC(order=2)"]


@pytest.mark.parametrize("name", QUICK)
def test_order_is_the_theory_s_between_two_noise_levels(name):
    """Fails if Heun averages wrong slopes, or a multistep method's weights are a little off.

    Such as the factor 2 that is commonly missing in the 3M method's second difference.
    """
    with jax.enable_x64(True):
        process = list(PROCESSES.values())[QUICK.index(name) % 3]
        solver = build(solvers, name, process=process)
        assert abs(convergence.order(solver, process) - ORDERS[name]) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", [*ORDERS, "LMS", "UniPC(order=3)"])
def test_order_is_the_theory_s_on_every_process(name, process):
    """Fails if a solver knows a schedule."""
    with jax.enable_x64(True):
        solver = build(solvers, name, process=PROCESSES[process])
        found = convergence.order(solver, PROCESSES[process], steps=(128, 256))
        assert abs(found - {**ORDERS, "LMS": 4, "UniPC(order=3)": 4}[name]) < 0.15


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


@pytest.mark.parametrize(("name", "asked"), [("Euler", 1), ("RK4", 4), ("UniPC", 1)])
def test_evaluations_are_counted(name, asked):
    """Fails if UniPC's corrector asks the denoiser again."""
    process = PROCESSES["cosine"]
    assert convergence.evaluations(build(solvers, name, process=process), process) == asked


@pytest.mark.slow
def test_adaptive_steps_reach_their_tolerance():
    """One step from pure noise to data: fails if the angle or its ends are wrong."""
    pytest.importorskip("diffrax")
    with jax.enable_x64(True):
        process = PROCESSES["cosine"]
        solver = solvers.Adaptive(process, rtol=1e-8, atol=1e-8)
        assert convergence.errors(solver, process, [jnp.array([1.0, 0.0])])[0] < 1e-5
