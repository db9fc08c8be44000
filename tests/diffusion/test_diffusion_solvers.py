"""Every solver on every grid, and the solvers' relations with each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.build import build, names
from jaxdiff.diffusion import oracles, schedules, solvers, timesteps
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import invert, prior, sample, within

COSINE = Process(schedules.Cosine())
EDM = Process(schedules.EDM())
SOLVERS = {
    "Ancestral": "Ancestral(solver=Heun())",
    "DataMultistep": "DataMultistep(predictor=2, corrector=2, tau=0.5)",
    "Restart": "Restart(of=Heun())",
    "SASolver": "SASolver(tau=0.7)",
}
STOCHASTIC = [
    "EulerAncestral",
    "DPM2Ancestral",
    "DPMpp2SAncestral",
    "DPMppSDE",
    "DPMpp2MSDE",
    "DPMpp3MSDE",
    "SASolver",
    "EulerMaruyama",
    "PredictorCorrector",
    pytest.param("AnnealedLangevin(steps_per_level=4, step_size=0.5)", marks=pytest.mark.slow),
]
QUICK = ["DDPM", "Heun", "RK4", "DPMSolver3", "LMS", "PNDM", "UniPC", "SASolver", "EulerMaruyama"]
WRAPPERS = ("LogSNRShift", "ZeroTerminalSNR")
SCHEDULES = [n for n in names(schedules) if not n.endswith("_betas") and n not in WRAPPERS]
GRIDS = [name for name in names(timesteps) if name not in ("Measured", "Restarting")]


def keys_of(n):
    return random.example_keys(jax.random.key(0), jnp.arange(n))


def solver_of(name, process):
    return build(solvers, SOLVERS.get(name, name), process=process)


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_falls_to_the_data(grid):
    """Fails if rounding repeats a time, or if a grid ends before the data."""
    for schedule in ("Cosine", "EDM", "Tabulated"):
        falls_to_the_data(grid, schedule, (1, 2, 3, 1000))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_falls_to_the_data_on_every_schedule(grid, schedule):
    falls_to_the_data(grid, schedule, (1, 2, 3, 5, 10, 50, 1000))


def falls_to_the_data(grid, schedule, counts):
    process = Process(build(schedules, schedule + "()"))
    for steps in counts:
        if grid == "AlignYourSteps":
            spec = "AlignYourSteps(model='sd15')"
            if -process.logsnr(jnp.ones(())) / 2 < np.log(14.7):
                continue
        else:
            spec = grid + "()"
        times = build(timesteps, spec)(process, steps)
        assert times.shape == (steps + 1,)
        assert (jnp.diff(times) < 0).all(), (steps, times)
        assert times[-1] == 0
        assert 0 < times[0] <= 1


def grids_of(process, steps):
    return jnp.stack([build(timesteps, grid + "()")(process, steps) for grid in GRIDS])


def finish_on_all_grids(name, process, steps):
    """Draws four samples on each grid, all in one program."""
    oracle = oracles.Gaussian(process, mean=jnp.array([0.5]), std=0.4)
    solver, keys = solver_of(name, process), keys_of(4)

    def draw(times):
        x = prior(process, keys, jnp.zeros((4, 1)), times[0])
        return sample(solver, oracle, x, times, {}, keys)

    return jax.jit(jax.vmap(draw))(grids_of(process, steps))


@pytest.mark.parametrize("name", QUICK)
def test_solvers_finish_on_every_grid(name):
    """Cosine has alpha(1) = 0 and sigma(0) = 0: fails if a step divides by either."""
    assert jnp.isfinite(finish_on_all_grids(name, COSINE, 3)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule", ["Cosine", "RectifiedFlow", "EDM", "VarianceExploding", "LinearBeta"]
)
@pytest.mark.parametrize("name", [n for n in names(solvers) if n not in ("Adaptive",)])
def test_every_solver_finishes_on_every_schedule(name, schedule):
    """Fails where a solver knows one kind of process only."""
    process = Process(build(schedules, schedule + "()"))
    for steps in (1, 2, 3, 5):
        assert jnp.isfinite(finish_on_all_grids(name, process, steps)).all()


@pytest.mark.parametrize(
    "process", [COSINE, pytest.param(EDM, marks=pytest.mark.slow)], ids=["cosine", "edm"]
)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_solvers_draw_the_gaussian(name, process):
    """Fails if the noise that is added has another deviation than the noise that was taken."""
    oracle = oracles.Gaussian(process, mean=jnp.array([0.5, -0.25]), std=0.4)
    steps = 128 if "Langevin" in name else 64  # its bias falls with the number of levels
    times, keys = timesteps.Karras(sigma_max=40.0)(process, steps), keys_of(2048)
    x = prior(process, keys, jnp.zeros((2048, 2)), times[0])
    x = jax.jit(lambda x: sample(solver_of(name, process), oracle, x, times, {}, keys))(x)
    np.testing.assert_allclose(x.mean(0), [0.5, -0.25], atol=0.04)
    np.testing.assert_allclose(x.std(0), 0.4, atol=0.035)


def compare(first, second, process=COSINE, steps=8, **tolerance):
    oracle = oracles.GaussianMixture(
        process, jnp.array([0.4, 0.6]), jnp.array([[-1.0], [0.6]]), jnp.array([0.4, 0.5])
    )
    times, keys = timesteps.Karras()(process, steps), keys_of(8)
    x = prior(process, keys, jnp.zeros((8, 1)), times[0])
    run = lambda name: sample(solver_of(name, process), oracle, x, times, {}, keys)
    np.testing.assert_allclose(run(first), run(second), **tolerance)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Ancestral(solver=Euler())", "DDIM(eta=1.0)"),
        ("Ancestral(solver=Euler(), eta=0.5)", "DDIM(eta=0.5)"),
        ("Ancestral(solver=Heun(), eta=0.0)", "Heun"),
        ("DPMppSDE(tau=0.0)", "DPMpp2S"),
        ("SASolver(predictor=1, corrector=0)", "DDPM"),
        ("SASolver(predictor=1, corrector=0, tau=0.0)", "DDIM"),
        ("DataMultistep(predictor=2, variant='bh2')", "DPMpp2M"),
        ("LMS(order=1)", "Euler"),
        ("DEIS(order=1)", "Euler"),
        ("Restart(of=Heun())", "Heun"),
    ],
)
def test_solvers_that_are_one_another(first, second):
    """Identities of the literature; fails if noise, eta, tau or B(h) enters at the wrong place."""
    compare(first, second, rtol=2e-4, atol=2e-5)


def test_the_renewed_noise_is_that_of_the_last_step_when_corrected():
    """A corrector without freedom changes nothing: fails if it forgets the noise it corrects."""
    oracle = oracles.Gaussian(COSINE, mean=jnp.zeros(1), std=0.4)
    keys, times = keys_of(4096), timesteps.LogSNR(-8.0, 8.0)(COSINE, 40)
    x = prior(COSINE, keys, jnp.zeros((4096, 1)), times[0])
    solver = solvers.SASolver(COSINE, predictor=2, corrector=2, tau=1.0)
    x = sample(solver, oracle, x, times, {}, keys)
    np.testing.assert_allclose(x.std(), 0.4, atol=0.015)


def test_inversion_comes_back():
    """Data to noise to data; fails if a network is asked at sigma = 0, where few are defined."""
    exact = oracles.Gaussian(COSINE, mean=jnp.array([0.5]), std=0.4)

    def oracle(x, t, cond):
        return exact(jnp.where(t[:, None] > 0, x, jnp.nan), t, cond)

    times, keys = timesteps.LogSNR()(COSINE, 200), keys_of(8)
    x0 = jnp.linspace(-0.5, 1.5, 8)[:, None]
    noise = invert(solvers.Heun(COSINE), oracle, x0, times, {}, keys)
    expected = exact.flow(x0, jnp.full(8, 1e-6), jnp.ones(8))
    np.testing.assert_allclose(noise, expected, atol=0.02)
    back = sample(solvers.Heun(COSINE), oracle, noise, times, {}, keys)
    np.testing.assert_allclose(back, x0, atol=0.02)


def test_a_grid_may_start_and_stop_anywhere():
    times = timesteps.Uniform()(COSINE, 4)
    np.testing.assert_allclose(within(times, 0.6, 0.1), [0.6, 0.5, 0.25, 0.1])
    with pytest.raises(ValueError, match=r"t_start=0\.2 and t_end=0\.4"):
        within(times, 0.2, 0.4)


def test_restarts_go_back_up_and_draw_the_gaussian():
    """Fails if the noise on the way up has the wrong scale."""
    grid = timesteps.Restarting(timesteps.Karras(), low=0.2, high=2.0, steps=8, repeats=3)
    times = grid(COSINE, 20)
    assert len(times) == 21 + 3 * 9
    assert (jnp.diff(times) > 0).sum() == 3
    oracle = oracles.Gaussian(COSINE, mean=jnp.array([0.5]), std=0.4)
    keys = keys_of(4096)
    x = prior(COSINE, keys, jnp.zeros((4096, 1)), times[0])
    x = sample(solver_of("Restart", COSINE), oracle, x, times, {}, keys)
    np.testing.assert_allclose([x.mean(), x.std()], [0.5, 0.4], atol=0.02)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("LMS(order=5)", "LMS: order=5 is not one of 1 to 4"),
        ("UniPC(order=0)", "UniPC: order=0 is not one of 1 to 3"),
        ("UniPC(variant='b')", "variant='b'; known: bh1, bh2"),
        ("SASolver(tau=-1.0)", "tau=-1.0 is negative"),
        ("DDPM(variance='tiny')", "variance='tiny'; known"),
        ("Ancestral(solver=Heun(), eta=2.0)", r"eta=2\.0 is not in"),
        ("Heun(eta=0.5)", "Heun has no option 'eta'"),
        ("PredictorCorrector(corrections=0)", "corrections=0 must be at least 1"),
    ],
)
def test_what_a_solver_cannot_do_is_named(spec, message):
    with pytest.raises(ValueError, match=message):
        build(solvers, spec, process=COSINE)
