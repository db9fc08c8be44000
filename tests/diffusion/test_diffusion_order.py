"""Every solver against the exact probability flow of a Gaussian mixture, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.diffusion import oracles, schedules, solvers
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import sample
from jaxdiff.diffusion.timesteps import Uniform

PROCESSES = {
    "cosine": Process(schedules.Cosine()),
    "rectified_flow": Process(schedules.RectifiedFlow()),
    "edm": Process(schedules.EDM(sigma_max=20.0)),
}
ORDER = {"DDIM": 1, "Euler": 1, "Heun": 2, "DPMpp2M": 2}


def mixture(process):
    return oracles.GaussianMixture(
        process,
        weights=jnp.array([0.3, 0.5, 0.2]),
        means=jnp.array([[-1.0], [0.4], [1.5]]),
        stds=jnp.array([0.5, 0.4, 0.6]),
    )


def errors(solver, process, grid, counts):
    """Mean absolute distance to the exact flow for each number of steps."""
    oracle = mixture(process)
    z = jnp.linspace(-1.5, 1.5, 16)[:, None]
    keys = jax.random.split(jax.random.key(0), 16)
    result = []
    for steps in counts:
        times = grid(process, steps)
        start, end = jnp.full(16, times[0]), jnp.full(16, times[-1])
        alpha, sigma = process.at(start, z)
        x = jnp.sqrt(alpha**2 + sigma**2) * z
        got = jax.jit(lambda x, times=times: sample(solver, oracle, x, times, {}, keys))(x)
        result.append(float(jnp.abs(got - oracle.flow(x, start, end)).mean()))
    return result


def order(solver, process, grid):
    """Slope of log error against log steps between 64 and 256 steps."""
    coarse, fine = errors(solver, process, grid, [64, 256])
    return np.log(coarse / fine) / np.log(4)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("name", ORDER)
def test_order_is_the_theory_s_between_two_noise_levels(name, process):
    """Fails if Heun averages the wrong slopes or if 2M's extrapolation weight is off."""
    with jax.enable_x64(True):
        process = PROCESSES[process]
        solver = getattr(solvers, name)(process)

        def interior(process, steps):
            return process.time(jnp.linspace(-4.0, 6.0, steps + 1))

        assert abs(order(solver, process, interior) - ORDER[name]) < 0.15


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
        coarse, fine = errors(solver, process, Uniform(start), [16, 256])
        assert np.log(coarse / fine) / np.log(16) > lowest
        assert fine < 5e-3
