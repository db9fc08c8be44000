"""Every solver on every grid, and the solvers' relations with each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.config.build import build, names
from jaxdiff.diffusion import oracles, schedules, solvers, timesteps
from jaxdiff.diffusion.analysis import convergence
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import invert, prior, sample, within
from jaxdiff.typing import Span
from tests.support.processes import ALL_SCHEDULES, COUNTS

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
GRIDS = [n for n in names(timesteps) if n not in ("Measured", "Respaced", "Restarting")]


def keys_of(n):
    return random.example_keys(jax.random.key(0), jnp.arange(n))


def solver_of(name, process):
    return build(solvers, SOLVERS.get(name, name), process=process)


@functools.cache
def chained(bases, counts):
    """Returns times [bases·grids, n]: a grid of each count follows the one before.

    Once for all solvers, for it takes longer than most of them.
    """
    chain = lambda rule, base: jnp.concatenate([rule(Process(base), n) for n in counts])
    rules = [build(timesteps, grid + "()") for grid in GRIDS]
    return jnp.stack([chain(rule, base) for base in bases for rule in rules])


def finish_on(name, schedule_specs, counts):
    """Draws two samples on every schedule and grid, in one program, and returns where any is off.

    Where the times rise, sampling begins again.
    """
    bases = tuple(build(schedules, spec) for spec in schedule_specs)
    times = chained(bases, counts)
    which, keys = jnp.repeat(jnp.arange(len(bases)), len(GRIDS)), keys_of(2)

    def draw(index, times):
        process = Process(convergence.OneOf(bases, index))
        oracle = oracles.Gaussian(process, mean=jnp.array([0.5]), std=0.4)
        solver = solver_of(name, process)

        def step(carry, ends):
            t, s = ends
            begin = lambda: prior(process, keys, jnp.zeros((2, 1)), s)
            x, history = carry
            span = Span(jnp.full(2, t), jnp.full(2, s), keys, 10)
            new = solver.step(oracle, x, span, {}, history)
            fresh = begin(), solver.init(begin())
            carry = jax.tree.map(lambda a, b: jnp.where(s > t, a, b), fresh, new)
            return carry, jnp.isfinite(carry[0]).all()

        first = prior(process, keys, jnp.zeros((2, 1)), times[0])
        carry = first, solver.init(first)
        return jax.lax.scan(step, carry, (times[:-1], times[1:]))[1].all()

    good = np.asarray(jax.jit(jax.vmap(draw))(which, times)).reshape(len(bases), len(GRIDS))
    return [(schedule_specs[i], GRIDS[j]) for i, j in np.argwhere(~good)]


@pytest.mark.parametrize("name", QUICK)
def test_solvers_finish_on_every_grid(name):
    """Cosine has alpha(1) = 0 and sigma(0) = 0: fails if a step divides by either."""
    assert not finish_on(name, ["Cosine()"], (1, 2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in names(solvers) if n not in ("Adaptive",)])
def test_every_solver_finishes_on_every_schedule(name):
    """Every grid and number of steps: fails where a solver knows one kind of process only."""
    assert not finish_on(name, ALL_SCHEDULES, COUNTS)


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


def test_solvers_say_whether_they_are_stochastic():
    """Fails if one does not, or says the wrong thing."""
    found = {name for name in names(solvers) if solver_of(name, COSINE).stochastic}
    noisy = {"DDPM", "Ancestral", "AnnealedLangevin", "EDMStochastic", "EulerAncestral", "Restart"}
    noisy |= {"DPM2Ancestral", "DPMpp2SAncestral", "DPMppSDE", "DPMpp2MSDE", "DPMpp3MSDE"}
    noisy |= {"DataMultistep", "EulerMaruyama", "PredictorCorrector", "SASolver"}
    noisy |= {"Consistency", "LCM", "TCD"}
    assert found == noisy


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("PNDM", "SASolver") else pytest.mark.slow)
        for name in names(solvers)
        if name != "Adaptive"
    ],
)
def test_two_seeds_differ_where_a_solver_is_stochastic(name):
    solver = solver_of(name, COSINE)
    oracle = oracles.Gaussian(COSINE, mean=jnp.array([0.5]), std=0.4)
    t, s = (0.5, 0.6) if name == "Restart" else (0.6, 0.5)
    x = jnp.ones((2, 1))

    @jax.jit
    def step(keys):
        span = Span(jnp.full(2, t), jnp.full(2, s), keys, 10)
        return solver.step(oracle, x, span, {}, solver.init(x))[0]

    first, second = step(keys_of(2))
    assert bool((first != second).any()) == solver.stochastic


@pytest.mark.parametrize(
    ("spec", "stochastic"),
    [
        ("DDIM(eta=0.0)", False),
        ("DDIM(eta=0.1)", True),
        ("Ancestral(solver=Heun(), eta=0.0)", False),
        ("Ancestral(solver=DDPM(), eta=0.0)", True),
        ("DPMppSDE(tau=0.0)", False),
        ("SASolver(tau=0.0)", False),
        ("EDMStochastic(s_churn=0.0)", False),
    ],
)
def test_options_decide_whether_a_solver_is_stochastic(spec, stochastic):
    assert build(solvers, spec, process=COSINE).stochastic == stochastic


def test_what_cannot_be_inverted_is_named():
    """Before anything is compiled; fails if DDIM does not look at its eta."""
    times, x, keys = jnp.linspace(1.0, 0.0, 5), jnp.zeros((1, 1)), keys_of(1)

    class Silent:
        init = step = unasked

    for solver in (solvers.DDPM(COSINE), solvers.DDIM(COSINE, eta=0.5), Silent()):
        with pytest.raises(ValueError, match=r"invert: .* adds noise, which cannot be undone"):
            invert(solver, unasked, x, times, {}, keys)
    with pytest.raises(ValueError, match="invert: a grid of 1 steps"):
        invert(solvers.DDIM(COSINE), unasked, x, jnp.array([1.0, 0.0]), {}, keys)


def unasked(x, t, cond):
    raise AssertionError("asked")


@pytest.mark.parametrize("name", ["LMS", "UniPC"])
def test_a_multistep_method_without_history_is_one_of_lower_order(name):
    """In two steps, order 3 is order 2; fails if evaluations that there are not have weight."""
    compare(f"{name}(order=3)", f"{name}(order=2)", steps=2, rtol=1e-5)


def test_a_grid_may_start_and_stop_anywhere():
    """Fails if a time that is an end as well is there twice: a step of no length."""
    times = timesteps.Uniform()(COSINE, 4)
    np.testing.assert_allclose(within(times, 0.6, 0.1), [0.6, 0.5, 0.25, 0.1])
    np.testing.assert_allclose(within(times, 0.75, 0.25), [0.75, 0.5, 0.25])
    for start, end in ((0.2, 0.4), (0.3, 0.3), (1.2, 0.0), (0.5, -0.1)):
        with pytest.raises(ValueError, match=rf"t_start={start} and t_end={end}: 0 <= t_end < t_s"):
            within(times, start, end)


def test_restarts_go_back_up_and_draw_the_gaussian():
    """Fails if the noise on the way up has the wrong scale, or a way ends beside its beginning."""
    grid = timesteps.Restarting(timesteps.Karras(), low=0.2, high=2.0, steps=8, repeats=3)
    times = grid(COSINE, 20)
    assert len(times) == 21 + 3 * 9
    (bottom,) = np.nonzero(np.diff(times) > 0)
    assert len(bottom) == 3
    assert len({float(t) for t in times[np.append(bottom, bottom + 9)]}) == 1
    np.testing.assert_allclose(np.exp(-COSINE.logsnr(times[bottom + 1]) / 2), 2.0, rtol=1e-4)
    oracle = oracles.Gaussian(COSINE, mean=jnp.array([0.5]), std=0.4)
    keys = keys_of(4096)
    x = prior(COSINE, keys, jnp.zeros((4096, 1)), times[0])
    x = sample(solver_of("Restart", COSINE), oracle, x, times, {}, keys)
    np.testing.assert_allclose([x.mean(), x.std()], [0.5, 0.4], atol=0.02)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("LMS(order=5)", "order is 5"),
        ("UniPC(order=0)", "order is 0"),
        ("UniPC(variant='b')", "variant is 'b'"),
        ("DEIS(order=4)", "order is 4"),
        ("IPNDM(order=0)", "order is 0"),
        ("SASolver(predictor=5)", "predictor is 5"),
        ("SASolver(corrector=-1)", "corrector is -1"),
        ("DataMultistep(predictor=0)", "predictor is 0"),
        ("SASolver(tau=-1.0)", "tau is -1.0"),
        ("DPMppSDE(tau=-0.5)", "tau is -0.5"),
        ("DDPM(variance='tiny')", "variance is 'tiny'"),
        ("Ancestral(solver=Heun(), eta=2.0)", r"eta is 2\.0"),
        ("Ancestral(solver=LMS())", "must be one without a history"),
        ("Heun(eta=0.5)", "Heun has no option 'eta'"),
        ("DPMpp2M(eta=0.5)", "DPMpp2M has no option 'eta'"),
        ("PredictorCorrector(corrections=0)", "corrections is 0"),
    ],
)
def test_what_a_solver_cannot_do_is_named(spec, message):
    with pytest.raises(ValueError, match=message):
        build(solvers, spec, process=COSINE)
