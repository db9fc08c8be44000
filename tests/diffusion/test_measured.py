"""Local errors against closed forms, and the grids that are made of them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.config.build import build
from jaxdiff.diffusion import oracles, schedules, solvers, timesteps
from jaxdiff.diffusion.analysis import convergence, local_error
from jaxdiff.diffusion.process import Process
from jaxdiff.diffusion.sampling import prior
from jaxdiff.diffusion.timesteps import measured
from jaxdiff.typing import Prediction

PROCESSES = {"cosine": Process(schedules.Cosine()), "edm": Process(schedules.EDM())}
COSINE, EDM = PROCESSES.values()
ORDERS = {"DDIM": 1, "Heun": 2, "DPMpp2M": 2}
EVERY = [(name, process) for name in ORDERS for process in PROCESSES]
QUICK = [
    pytest.param(*case, marks=() if case == ("DPMpp2M", "edm") else pytest.mark.slow)
    for case in EVERY
]


def keys_of(n, seed=0):
    return random.example_keys(jax.random.key(seed), jnp.arange(n))


def noise_of(process, n, dimensions, seed):
    keys = keys_of(n, seed)
    return prior(process, keys, jnp.zeros((n, dimensions)), jnp.ones(()))


@pytest.mark.parametrize(("name", "process"), QUICK)
def test_the_local_error_is_of_one_order_more_than_the_solver(name, process):
    """Halving the steps around one noise level; fails if the steps before are not of the path."""
    process = PROCESSES[process]
    with jax.enable_x64(True):
        solver, oracle = getattr(solvers, name)(process), convergence.mixture(process)

        @jax.jit
        def error(h):
            times = process.time(h * (jnp.arange(12.0) - 8))
            z = jnp.linspace(-1.5, 1.5, 8)[:, None] / np.sqrt(2)
            x = process.perturb(Prediction(x0=z, noise=z), jnp.full(8, times[0]))
            at = lambda t: jnp.full(8, t)
            path = jax.vmap(lambda t: oracle.flow(x, at(times[0]), at(t)))(times)
            keys = keys_of(8)
            squares = local_error.local_error(
                process, solver, oracle, path, times, 8, {}, keys, stride=2
            )
            return jnp.sqrt(squares.mean())

        slope = np.log2(error(0.04) / error(0.02))
        assert abs(slope - ORDERS[name] - 1) < 0.15


@pytest.fixture(scope="module")
def gaussian():
    """A narrow Gaussian under DDIM: the oracle, the noise, the fine times and the errors."""
    with jax.enable_x64(True):
        oracle = oracles.Gaussian(COSINE, jnp.array([0.3, -0.2]), 0.2)
        x, solver = noise_of(COSINE, 16, 2, seed=1), solvers.DDIM(COSINE)
        measure = lambda x: local_error.local_errors(COSINE, solver, oracle, x, {}, keys_of(16))
        return oracle, x, *jax.jit(measure)(x)


def test_errors_are_those_left_in_the_data(gaussian):
    """Closed form of a step followed by the exact flow; fails if they are not carried to t = 0.

    Also if the root is taken of each example's error and not of their mean.
    """
    oracle, x, times, errors = gaussian
    with jax.enable_x64(True):
        at = lambda i: jnp.full(len(x), times[i])
        exact = lambda i: oracle.flow(x, at(0), at(i))
        for place in (0, 10, 20, 28):
            end = place + local_error.STRIDE
            step = COSINE.perturb(oracle(exact(place), at(place), {}), at(end))
            left = oracle.flow(step, at(end), at(-1)) - exact(-1)
            np.testing.assert_allclose(errors[place], jnp.sqrt((left**2).mean()), rtol=1e-3)


@pytest.mark.slow
def test_a_corrector_steps_from_an_exact_history():
    """A step of order 3 errs by h⁴; fails if a corrector keeps an x of its own cold start."""
    with jax.enable_x64(True):
        mixture, solver = convergence.mixture(COSINE), solvers.DataMultistep(COSINE, 3, 3)
        x, keys = jnp.linspace(-1.5, 1.5, 4)[:, None], keys_of(4)

        def error(intervals):
            times = local_error.fine_times(COSINE, intervals)
            path = local_error.fine_path(COSINE, mixture, x, times, {}, keys)
            place = intervals // 2
            return local_error.local_error(
                COSINE, solver, mixture, path, times, place, {}, keys
            ).mean()

        coarse, fine = jax.jit(lambda: (error(64), error(128)))()
        assert np.log2(coarse / fine) / 2 > 3.9


def test_the_grid_of_a_gaussian_is_even_in_its_own_angle(gaussian):
    """Euler's errors of N(m, s²) are even in arctan(sigma/(alpha·s)), whatever the schedule.

    Fails for another power of the errors than 1/(order + 1), or if they are taken for those of the
    beginnings of the steps.
    """
    *_, times, errors = gaussian
    with jax.enable_x64(True):
        found = measured.spread(local_error.place_steps(times, errors, order=1), 20)
        angle = jnp.arctan2(COSINE.schedule.sigma(found), 0.2 * COSINE.schedule.alpha(found))
        np.testing.assert_allclose(angle, np.pi / 2 * np.linspace(1, 0, 21), atol=0.02)


def test_a_gaussian_is_nearer_to_the_exact_one_than_on_built_in_grids(gaussian):
    """From other noise; fails if the shares run from the wrong end."""
    oracle, _, times, errors = gaussian
    with jax.enable_x64(True):
        knots = local_error.place_steps(times, errors, order=1)
        x, solver = noise_of(COSINE, 16, 2, seed=2), solvers.DDIM(COSINE)

        @jax.jit
        def distance(x, times):
            end = local_error.solve(solver, oracle, x, times, 0, 10, {}, keys_of(16))
            exact = oracle.flow(x, jnp.ones(16), jnp.zeros(16))
            return jnp.sqrt(local_error.squared_distance(end, exact).mean())

        ours = distance(x, measured.spread(knots, 10))
        for grid in (timesteps.Uniform(), timesteps.LogSNR(), timesteps.Karras()):
            assert 1.5 * ours < distance(x, grid(COSINE, 10)), grid


@pytest.mark.slow
@pytest.mark.parametrize(("name", "process"), EVERY)
def test_samples_are_nearer_to_the_exact_ones_than_on_built_in_grids(name, process):
    """Of a narrow mixture, smooth enough for no sample to end in another mode, from other noise."""
    process = PROCESSES[process]
    with jax.enable_x64(True):
        solver, keys = getattr(solvers, name)(process), keys_of(32)
        weights, means = jnp.array([0.3, 0.5, 0.2]), jnp.array([[-0.3], [0.12], [0.45]])
        stds = jnp.array([0.15, 0.12, 0.18])
        oracle = oracles.GaussianMixture(process, weights, means, stds)

        @jax.jit
        def measure(x):
            return local_error.local_errors(process, solver, oracle, x, {}, keys)

        @jax.jit
        def distance(x, times, steps):
            end = local_error.solve(solver, oracle, x, times, 0, steps, {}, keys)
            exact = oracle.flow(x, jnp.ones(32), jnp.zeros(32))
            return jnp.sqrt(local_error.squared_distance(end, exact).mean())

        times, errors = measure(noise_of(process, 32, 1, seed=1))
        builtin = (timesteps.Uniform(), timesteps.LogSNR(), timesteps.Karras())
        grids = [grid(process, n) for n in (10, 20) for grid in builtin]
        knots = local_error.place_steps(times, errors, ORDERS[name])
        x = noise_of(process, 32, 1, seed=2)
        error = lambda times: distance(x, np.pad(times, (0, 21 - len(times))), len(times) - 1)
        ours = {n: error(measured.spread(knots, n)) for n in (10, 20)}
        theirs = [(len(grid) - 1, error(grid)) for grid in grids]
        assert all(1.5 * ours[n] < found for n, found in theirs), (ours, theirs)


@pytest.fixture(params=PROCESSES)
def file(request, tmp_path):
    """A written file of knots with errors of many orders of magnitude and none, and its process."""
    process = PROCESSES[request.param]
    times = local_error.fine_times(process)
    errors = 10.0 ** np.random.default_rng(0).uniform(-12, 0, 31)
    errors[5:12] = 0
    knots = local_error.place_steps(times, errors, order=1)
    path = tmp_path / "timesteps.json"
    measured.write(path, process, knots, solver="DDIM", order=1)
    return path, process, knots


def test_times_fall_strictly_for_any_number_of_steps(file):
    """In float32, from 1 to 0, through a file unchanged; fails if vanishing errors get no steps."""
    path, process, knots = file
    grid = build(timesteps, f"Measured(path={str(path)!r})")
    for steps in (1, 2, 3, 7, 10, 50, 333, 999, 1000):
        times = grid(process, steps)
        assert len(times) == steps + 1
        assert times[0] == 1
        assert times[-1] == 0
        assert np.all(np.diff(times) < 0)
        np.testing.assert_array_equal(times, measured.spread(knots, steps))
    with jax.enable_x64(True):
        np.testing.assert_allclose(grid(process, 50), measured.spread(knots, 50), atol=1e-7)


def test_times_between_knots_follow_a_smooth_curve():
    """Beginning at the knots' own first time; fails with straight lines, three times as far off."""
    curve = lambda share: 0.9 * (1 - share) ** 2
    shares = np.linspace(0, 1, 9)
    times = measured.spread(measured.Knots(curve(shares), shares), 40)
    np.testing.assert_allclose(times, curve(np.linspace(0, 1, 41)), atol=1.5e-3)


def test_more_steps_than_floats_are_named():
    knots = measured.Knots(np.array([1.0, 1 - 1e-5, 0.0]), np.array([0.0, 0.9, 1.0]))
    assert len(measured.spread(knots, 10)) == 11
    with pytest.raises(ValueError, match="steps=1000: float32 cannot resolve as many times"):
        measured.spread(knots, 1000)
    with pytest.raises(ValueError, match="steps=0: a solver takes at least 1"):
        measured.spread(knots, 0)


def damage(change):
    def damaged(text):
        found = json.loads(text)
        change(found)
        return json.dumps(found)

    return damaged


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda text: None, "experiments/timesteps.py writes it anew"),
        (lambda text: text[:100], "is not JSON: "),
        (lambda text: "[]", "is not a grid: it must have a process"),
        (damage(lambda found: found["knots"].pop("share")), "is not a grid"),
        (damage(lambda found: found["knots"].update(time="late")), "is not a grid"),
        (damage(lambda found: found["knots"]["share"].__setitem__(3, None)), "is not a grid"),
        (damage(lambda found: found["knots"]["share"].pop()), "must fall to 0 and shares rise"),
        (damage(lambda found: found["knots"]["time"].__setitem__(3, 0.99)), "times must fall"),
        (damage(lambda found: found["knots"]["share"].__setitem__(-1, 0.99)), "times must fall"),
    ],
)
@pytest.mark.parametrize("file", ["cosine"], indirect=True)
def test_a_file_that_is_no_grid_is_named(file, harm, message):
    path, process, _ = file
    text = harm(path.read_text())
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=f"Measured: .*{path}.*{message}"):
        timesteps.Measured(str(path))(process, 10)


@pytest.mark.parametrize(
    "other", [Process(schedules.EDM(50.0)), Process(schedules.RectifiedFlow())]
)
def test_another_process_is_named(file, other):
    """By its noise levels; fails if they are not compared."""
    path, process, _ = file
    with pytest.raises(ValueError, match=r"made for the process .*, not for .*measure again"):
        timesteps.Measured(str(path))(other, 10)
    timesteps.Measured(str(path))(process, 10)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0])
def test_errors_that_say_nothing_are_named(wrong):
    with pytest.raises(ValueError, match="local errors must be finite and not all zero"):
        local_error.place_steps(np.linspace(1, 0, 6), np.full(4, wrong), order=1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("DDPM", "'DDPM' draws noise"),
        ("DDIM(eta=0.5)", "draws noise"),
        ("Adaptive", "chooses its steps itself"),
    ],
)
def test_solvers_without_an_error_of_a_step_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        convergence.order_of(spec)
