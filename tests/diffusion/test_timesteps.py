"""Grids: what holds of every one on every schedule, and their papers' values."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.config.build import build, names
from jaxdiff.diffusion import timesteps
from tests.support.processes import ALL_SCHEDULES, COUNTS, process_of

OF_OTHERS = ("ConsistencyLevels", "Measured", "Respaced", "Restarting", "Skipping")
GRIDS = [name for name in names(timesteps) if name not in OF_OTHERS]


@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_falls_to_the_data(grid):
    """Fails if rounding repeats a time, as in Laplace's tail, or a grid ends before the data."""
    for schedule in ("Cosine()", "EDM()", "Laplace()"):
        times = {n: build(timesteps, grid + "()")(process_of(schedule), n) for n in (2, 1000)}
        falls_to_the_data(schedule, times)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ALL_SCHEDULES)
def test_every_grid_falls_to_the_data_on_every_schedule(schedule):
    """With finite coefficients, and a noise level at every time but the ends."""
    process = process_of(schedule)
    for grid in GRIDS:
        times = {n: build(timesteps, grid + "()")(process, n) for n in COUNTS}
        falls_to_the_data(schedule, times)


def falls_to_the_data(schedule, times):
    process = process_of(schedule)
    for steps, grid in times.items():
        found = np.asarray(grid)
        assert found.shape == (steps + 1,)
        assert (np.diff(found) < 0).all(), (steps, found)
        assert 0 < found[0] <= 1
        assert found[-1] == 0
    # All at once: each shape would be compiled anew.
    t = jnp.asarray(np.concatenate(list(times.values())))
    alpha, sigma, logsnr = process.schedule.alpha(t), process.schedule.sigma(t), process.logsnr(t)
    assert (jnp.isfinite(alpha) & jnp.isfinite(sigma)).all()
    assert ((sigma == 0) == (t == 0)).all()
    assert (jnp.isfinite(logsnr) | (t == 0) | (t == 1)).all()


def test_a_tail_of_noise_is_cut_where_floats_end():
    """Laplace reaches 80 at 1 - 1e-8: fails if that becomes 1, or if more than needed is cut."""
    laplace = process_of("Laplace()")
    for grid in (timesteps.Karras(), timesteps.Exponential(), timesteps.LogSNR()):
        times = grid(laplace, 50)
        levels = np.exp(-laplace.logsnr(times[1:3]) / 2)
        assert 20 < levels[1] < levels[0] < 40
    times = timesteps.Karras()(process_of("Laplace(scale=1.0)"), 50)
    np.testing.assert_allclose(times[0], 1 - np.exp(-2 * np.log(80)) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "spec", ["Karras()", "LogSNR()", "AlignYourSteps()", "Restarting(steps=9)"]
)
def test_times_that_floats_cannot_tell_apart_are_an_error(spec):
    """A tail so long that no grid of 1,000 steps fits: fails if one is returned all the same."""
    with pytest.raises(ValueError, match=r"steps=1000: on Laplace.* times are not below.*float32"):
        build(timesteps, spec)(process_of("Laplace(scale=0.1)"), 1000)


def test_grids_against_known_values():
    """10 of 1,000 steps: leading starts at 901, trailing at 1,000; Karras against eq. 5."""
    edm = process_of("EDM()")
    leading, trailing = timesteps.Leading()(edm, 10), timesteps.Trailing()(edm, 10)
    np.testing.assert_allclose(leading[:3], [0.901, 0.801, 0.701], rtol=1e-6)
    np.testing.assert_allclose(leading[-2:], [0.001, 0.0], rtol=1e-6)
    np.testing.assert_allclose(trailing[:3], [1.0, 0.9, 0.8], rtol=1e-6)
    i = np.arange(18)
    sigma = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(timesteps.Karras()(edm, 18)[:-1] * 80, sigma, rtol=1e-4)


def test_grids_in_closed_form():
    """Fails if a power is inverted, the ends of a Beta exchanged, or a table is counted from 0."""
    edm = process_of("EDM()")
    known = {
        "Power(power=3.0)": (np.arange(4, -1, -1) / 4) ** 3,
        "Beta(a=2.0, b=1.0)": np.sqrt(np.arange(4, -1, -1) / 4),  # of density 2t
        "Linspace()": [1.0, 0.667, 0.334, 0.001, 0.0],
        "Linspace(train_steps=10, round=False)": [1.0, 0.7, 0.4, 0.1, 0.0],
        "SGMUniform()": [1.0, 0.75025, 0.5005, 0.25075, 0.0],
        "Leading(offset=1, end=1)": [0.752, 0.502, 0.252, 0.002, 0.001],
        "Leading(spare=True)": [0.801, 0.601, 0.401, 0.201, 0.0],
        "Skipping()": [1.0, 0.76, 0.5, 0.26, 0.0],
        "Linspace(spare=True)": [1.0, 0.75, 0.501, 0.251, 0.0],
        "Trailing(end=1)": [1.0, 0.75, 0.5, 0.25, 0.001],
        "Shifted(shift=1.0, train_steps=10)": [1.0, 0.7, 0.4, 0.1, 0.0],
        "Shifted(train_steps=10, counted='unipc')": [
            1 - 1e-6,
            2.325 / 2.55,
            1.65 / 2.1,
            0.975 / 1.65,
            0.0,
        ],
        "Respaced(of=Exponential(sigma_max=10.0), rule='karras')": (
            timesteps.Karras(sigma_max=10.0)(edm, 4)
        ),
        "Respaced(of=Karras(sigma_max=10.0), rule='exponential')": (
            timesteps.Exponential(sigma_max=10.0)(edm, 4)
        ),
        "Exponential(sigma_min=0.01, sigma_max=10.0)": np.array([10, 1, 0.1, 0.01, 0]) / 80,
    }
    for spec, times in known.items():
        np.testing.assert_allclose(build(timesteps, spec)(edm, 4), times, rtol=1e-4, err_msg=spec)


def test_grids_refuse_impossible_steps():
    with pytest.raises(ValueError, match="steps=0"):
        timesteps.Uniform()(process_of("EDM()"), 0)
    with pytest.raises(ValueError, match=r"steps=1001.*1 to 1000"):
        timesteps.Leading()(process_of("EDM()"), 1001)
    with pytest.raises(ValueError, match=r"offset=1 with steps=1000 begins at 1001, beyond"):
        timesteps.Leading(offset=1)(process_of("EDM()"), 1000)


@pytest.mark.parametrize("name", [*GRIDS, "Restarting"])
def test_every_grid_refuses_no_steps(name):
    with pytest.raises(ValueError, match=r"steps=0: a solver takes"):
        build(timesteps, name + "()")(process_of("EDM()"), 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("Restarting(low=1.0, high=0.5)", r"low=1\.0 is not below high=0\.5"),
        ("Karras(sigma_min=0.0)", r"Karras.sigma_min is 0\.0; expected a number above 0"),
        ("Karras(rho=0.0)", r"rho is 0\.0"),
        ("Exponential(sigma_max=0.001)", r"sigma_min=0\.002 is not below sigma_max=0\.001"),
        ("LogSNR(lowest=3.0, highest=-3.0)", r"lowest=3\.0 is not below highest=-3\.0"),
        ("Uniform(start=1.5)", r"start is 1\.5"),
        ("Power(power=0.0)", r"power is 0\.0"),
        ("Beta(b=-1.0)", r"b is -1\.0"),
        ("Trailing(train_steps=0)", "train_steps is 0"),
        ("AlignYourSteps(model='sd3')", "model is 'sd3'"),
    ],
)
def test_what_a_grid_cannot_do_is_named(spec, message):
    with pytest.raises(ValueError, match=message):
        build(timesteps, spec)


def test_grids_that_need_more_noise_or_steps_say_so():
    """Fails if svd's 700 is cut to EDM's 80, or a way back up begins above its end."""
    with pytest.raises(ValueError, match=r"model='svd' begins at .* of 700, but EDM.* ends at 80"):
        timesteps.AlignYourSteps("svd")(process_of("EDM()"), 10)
    with pytest.raises(ValueError, match=r"of 1 steps of Karras.*none stops near low=0\.1"):
        timesteps.Restarting()(process_of("EDM()"), 1)


def test_aligned_steps_are_the_papers():
    """Table 3's levels in ten steps; in five, every other; fails if the last is not left for 0."""
    process = process_of("Cosine()")
    levels = lambda steps: np.exp(
        -process.logsnr(timesteps.AlignYourSteps("sdxl")(process, steps)) / 2
    )
    table = [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0]
    np.testing.assert_allclose(levels(10), table, rtol=1e-4)
    np.testing.assert_allclose(levels(5), table[::2], rtol=1e-4)


def test_even_log_snrs_start_where_there_is_noise():
    """Pure noise first where alpha(1) = 0; fails if EDM begins with a step of no length."""
    cosine, edm = process_of("Cosine()"), process_of("EDM()")
    logsnr = cosine.logsnr(timesteps.LogSNR(-8.0, 8.0)(cosine, 6))
    np.testing.assert_allclose(logsnr[1:-1], [-8, -4, 0, 4, 8], atol=1e-3)
    assert logsnr[0] == -np.inf
    first, *_, last = np.asarray(edm.logsnr(timesteps.LogSNR(-10.0, 8.0)(edm, 6)))[:-1]
    np.testing.assert_allclose([first, last], [-2 * np.log(80), 8], atol=1e-3)


def test_levels_of_a_consistency_model():
    """Eq. 5 of Karras et al. at every tenth of 40 levels, or at those that are named."""
    edm = process_of("EDM(sigma_max=80.0)")
    ramp = np.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 40) ** 7
    found = timesteps.ConsistencyLevels()(edm, 4)
    np.testing.assert_allclose(80 * found, [*ramp[[0, 10, 20, 30]], 0], rtol=1e-4)
    named = timesteps.ConsistencyLevels(indices=(0, 22))
    np.testing.assert_allclose(80 * named(edm, 2), [80, ramp[22], 0], rtol=1e-4)
    for wrong, steps in (((0, 22), 3), ((22, 0), 2), ((0, 39), 2)):
        with pytest.raises(ValueError, match="ConsistencyLevels"):
            timesteps.ConsistencyLevels(indices=wrong)(edm, steps)
