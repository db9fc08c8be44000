"""Schedules against closed forms, in float64; their ends, in float32; the two wrappers."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.config.build import build, names
from jaxdiff.diffusion import schedules
from jaxdiff.diffusion.process import Process

BASES = [
    name + "()"
    for name in names(schedules)
    if name[0].isupper() and name not in ("GVP", "TrigFlow")
]
STABLE_DIFFUSION = "Tabulated(betas=scaled_linear_betas())"
WRAPPED = [
    "LogSNRShift(of=LinearBeta(), shift=4.0)",
    "LogSNRShift(of=RectifiedFlow(), shift=3.0)",
    "LogSNRShift(of=EDM(), shift=0.5)",
    "LogSNRShift(of=ZeroTerminalSNR(of=LinearBeta()), shift=2.0)",
    f"ZeroTerminalSNR(of={STABLE_DIFFUSION})",
    "ZeroTerminalSNR(of=Tabulated(betas=cosine_betas()))",
    "ZeroTerminalSNR(of=SubVP())",
    "ZeroTerminalSNR(of=EDM())",
    "ZeroTerminalSNR(of=LogSNRShift(of=LinearBeta(), shift=4.0))",
]
ALL = [*BASES, STABLE_DIFFUSION, *WRAPPED]
PRESERVING = [
    spec for spec in ALL if not any(n in spec for n in ("Flow", "EDM", "SubVP", "Exploding"))
]
# Every array has one shape, so that each operation is compiled once.
T = np.linspace(0.0, 1.0, 103)[1:-1]
NEAR_ENDS = np.float32(np.r_[np.geomspace(1e-6, 0.5, 51), 1 - np.geomspace(0.4, 1e-4, 50)])
LAST = np.float32(np.r_[np.full(50, 1 - 6e-8), np.ones(51)])


def of(spec):
    return build(schedules, spec)


def logsnr(spec, t):
    return Process(of(spec)).logsnr(t)


@pytest.fixture
def t():
    with jax.enable_x64(True):
        yield jnp.asarray(T)


def test_sub_vp_has_the_variance_of_vp_as_its_deviation(t):
    """Fails if sigma is √(1 - alpha²), or alpha another than the VP SDE's."""
    vp, sub = schedules.LinearBeta(0.2, 15.0), schedules.SubVP(0.2, 15.0)
    np.testing.assert_array_equal(sub.alpha(t), vp.alpha(t))
    np.testing.assert_allclose(sub.sigma(t), vp.sigma(t) ** 2, rtol=1e-12)


def test_sigmoid_is_the_papers(t):
    """Fails if start and end, or the two hyperbolic factors, are exchanged, or tau is dropped."""
    start, end, tau = -2.0, 4.0, 0.7
    value = lambda at: 1 / (1 + np.exp(-at / tau))
    at = T * (end - start) + start
    gamma = (value(end) - value(at)) / (value(end) - value(start))
    schedule = schedules.Sigmoid(start, end, tau)
    np.testing.assert_allclose(schedule.alpha(t) ** 2, gamma, rtol=1e-9)
    np.testing.assert_allclose(schedule.sigma(t) ** 2, 1 - gamma, rtol=1e-9)


def test_laplace_is_the_papers(t):
    """Fails on a wrong sign in one half, and if the scale or mean is off."""
    expected = 1.5 - 0.8 * np.sign(0.5 - T) * np.log(1 - 2 * np.abs(T - 0.5))
    np.testing.assert_allclose(logsnr("Laplace(mean=1.5, scale=0.8)", t), expected, atol=1e-9)


def test_scaled_linear_is_stable_diffusions(t):
    """Fails if betas are linear themselves: the last product of 1 - beta is 0.00466."""
    betas = np.array(schedules.scaled_linear_betas(5, 0.01, 0.09))
    np.testing.assert_allclose(np.sqrt(betas), [0.1, 0.15, 0.2, 0.25, 0.3])
    np.testing.assert_allclose(of(STABLE_DIFFUSION).alpha(jnp.ones(1)) ** 2, 0.00466, rtol=1e-3)


def test_trigonometric_names_are_the_cosine():
    """Fails if an alias drifts away."""
    assert of("GVP()") == of("TrigFlow()") == schedules.Cosine()


@pytest.mark.parametrize("spec", ALL)
def test_ends_and_the_way_between(spec):
    """In float32, sigma(0) = 0 but where it is learned, nothing is off the scale, log-SNR falls."""
    schedule, t = of(spec), jnp.asarray(np.linspace(0.0, 1.0, 101, dtype=np.float32))
    alpha, sigma = np.asarray(schedule.alpha(t)), np.asarray(schedule.sigma(t))
    assert alpha.dtype == sigma.dtype == np.float32
    noisy = "Learned" in spec
    assert (sigma[0] > 0) if noisy else (sigma[0] == 0)
    assert np.all(np.isfinite(alpha) & np.isfinite(sigma) & (alpha >= 0))
    np.testing.assert_allclose(alpha[0], 1, rtol=1e-6 if noisy else 2e-7)
    assert np.all(np.diff(Process(schedule).logsnr(t)) < 0)


@pytest.mark.parametrize("spec", ALL)
def test_float32_is_accurate_near_the_ends(spec):
    """Fails where a difference cancels, as in √(1 - alpha²) for a small sigma."""
    coefficients = lambda t: (of(spec).alpha(t), of(spec).sigma(t))
    single = coefficients(jnp.asarray(NEAR_ENDS))
    with jax.enable_x64(True):
        double = coefficients(jnp.asarray(NEAR_ENDS, jnp.float64))
    # Times near 1 are 6e-8 apart: what vanishes there with a slope is known no better than that.
    atol = 1.2e-7 if "ZeroTerminal" in spec else 0.0
    np.testing.assert_allclose(single[0], double[0], rtol=2e-6, atol=atol)
    np.testing.assert_allclose(single[1], double[1], rtol=2e-6)


@pytest.mark.parametrize("spec", [s for s in ALL if "Tabulated" not in s])
def test_slopes_are_those_of_finite_differences(spec, t):
    """Fails where `where`, `sign` or `maximum` stops a derivative, as |t - ½| does at ½."""
    h = 1e-7
    for f in (of(spec).alpha, of(spec).sigma):
        slope = jax.jvp(f, (t,), (jnp.ones_like(t),))[1]
        np.testing.assert_allclose(slope, (f(t + h) - f(t - h)) / (2 * h), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("spec", PRESERVING)
def test_variance_is_preserved(spec):
    """alpha² + sigma² = 1 in float32: fails if a wrapper moves one without the other."""
    alpha, sigma = (np.asarray(f(jnp.asarray(NEAR_ENDS))) for f in (of(spec).alpha, of(spec).sigma))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=6e-7)


@pytest.mark.parametrize("base", BASES)
def test_shift_lowers_logsnr_once(base, t):
    """Fails if the shift is squared, inverted, or applied to alpha and sigma both."""
    shifted = logsnr(f"LogSNRShift(of={base}, shift=3.0)", t)
    np.testing.assert_allclose(shifted, logsnr(base, t) - 2 * np.log(3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("base", BASES)
def test_shifts_compose(base, t):
    """Shift a, then b, is shift ab in both coefficients; 1 is no shift, 1/a takes a back."""
    twice = of(f"LogSNRShift(of=LogSNRShift(of={base}, shift=3.0), shift=0.5)")
    once = of(f"LogSNRShift(of={base}, shift=1.5)")
    back = of(f"LogSNRShift(of=LogSNRShift(of={base}, shift=4.0), shift=0.25)")
    for a, b in ((twice, once), (back, of(base)), (of(f"LogSNRShift(of={base})"), of(base))):
        np.testing.assert_allclose(a.alpha(t), b.alpha(t), rtol=1e-12)
        np.testing.assert_allclose(a.sigma(t), b.sigma(t), rtol=1e-12)


def test_shifted_rectified_flow_is_the_flow_at_sd3s_time(t):
    """t' = s·t/(1 + (s - 1)·t): fails if the shift leaves the straight line."""
    shifted = of("LogSNRShift(of=RectifiedFlow(), shift=3.0)")
    np.testing.assert_allclose(shifted.sigma(t), 3 * T / (1 + 2 * T), rtol=1e-12)
    np.testing.assert_allclose(shifted.alpha(t), 1 - 3 * T / (1 + 2 * T), rtol=1e-9)


def test_shift_of_a_variance_exploding_process_scales_its_noise(t):
    """Fails if the data are scaled."""
    shifted = of("LogSNRShift(of=EDM(sigma_max=10.0), shift=4.0)")
    np.testing.assert_array_equal(shifted.alpha(t), 1.0)
    np.testing.assert_allclose(shifted.sigma(t), 40 * T, rtol=1e-12)


@pytest.mark.usefixtures("t")
@pytest.mark.parametrize("table", ["linear_betas", "scaled_linear_betas"])
def test_zero_terminal_table_is_the_algorithm(table):
    """Algorithm 1 on roots of products: fails if alpha(0) is kept in place of the first step's."""
    betas = np.array(build(schedules, f"{table}()", tuple[float, ...]))
    root = np.sqrt(np.cumprod(1 - betas))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    schedule = of(f"ZeroTerminalSNR(of=Tabulated(betas={table}()))")
    steps = np.r_[1:52, 951:1001]
    t, root = jnp.asarray(steps / 1000), root[steps - 1]
    np.testing.assert_allclose(schedule.alpha(t), root, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(schedule.sigma(t), np.sqrt(1 - root**2), rtol=1e-9)


def test_zero_terminal_in_continuous_time(t):
    """(alpha - alpha(1))/(1 - alpha(1)), and the sigma that keeps the variance."""
    base, schedule = schedules.LinearBeta(), of("ZeroTerminalSNR(of=LinearBeta())")
    last = np.exp(-0.25 * 19.9 - 0.05)
    alpha = (np.asarray(base.alpha(t)) - last) / (1 - last)
    np.testing.assert_allclose(schedule.alpha(t), alpha, rtol=1e-9)
    np.testing.assert_allclose(schedule.sigma(t), np.sqrt(1 - alpha**2), rtol=1e-9)


@pytest.mark.parametrize("base", [*BASES, STABLE_DIFFUSION])
def test_zero_terminal_ends_at_exactly_zero(base):
    """In float32: fails if rounding is left over, below zero too, or the slope is cut off."""
    schedule, last = of(f"ZeroTerminalSNR(of={base})"), jnp.asarray(LAST)
    alpha, slope = jax.jvp(schedule.alpha, (last,), (jnp.ones_like(last),))
    assert alpha[-1] == 0
    assert 0 <= alpha[0] < 0.02
    assert not abs(slope[-1]) < 1e-3


@pytest.mark.parametrize("rounding", [-1e-6, 1e-6])
def test_zero_terminal_does_not_rest_on_rounding(rounding):
    """Fails if two computations of alpha(1) must agree, as those of two compilers do not."""
    vp, last = schedules.LinearBeta(), jnp.asarray(LAST)
    alpha = lambda t: vp.alpha(t) * (1 + rounding * bool(jnp.all(t == 1)))
    found = schedules.ZeroTerminalSNR(SimpleNamespace(alpha=alpha, sigma=vp.sigma)).alpha(last)
    assert found[-1] == 0
    assert found.min() == 0


@pytest.mark.parametrize("base", ["Cosine()", "Sigmoid()", "Laplace()", "RectifiedFlow()"])
def test_zero_terminal_leaves_what_ends_at_zero(base, t):
    """Fails if a schedule that has no signal left is moved."""
    schedule = of(f"ZeroTerminalSNR(of={base})")
    np.testing.assert_allclose(schedule.alpha(t), of(base).alpha(t), rtol=1e-12)
    np.testing.assert_allclose(schedule.sigma(t), of(base).sigma(t), rtol=1e-12)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("LogSNRShift(shift=0.0)", r"shift is 0.0"),
        ("Sigmoid(tau=-1.0)", r"tau is -1.0"),
        ("Sigmoid(start=3.0)", r"start=3.0 is not below end=3.0"),
        ("Laplace(scale=0.0)", r"scale is 0.0"),
        (
            "Tabulated(betas=scaled_linear_betas(end=1.5))",
            r"end is 1.5; .* from 0 to 1",
        ),
        ("Tabulated(betas=())", r"betas is \(\); expected a list that is not empty"),
    ],
)
def test_bad_options_are_named(spec, message):
    with pytest.raises(ValueError, match=message):
        of(spec)


@pytest.mark.parametrize("wrapper", [schedules.LogSNRShift, schedules.ZeroTerminalSNR])
def test_what_is_no_schedule_is_named(wrapper):
    """Past the type checks that only tests have."""
    with pytest.raises(ValueError, match=r"of='Cosine' is not a schedule; .*of=Cosine\(\)"):
        wrapper.__post_init__(SimpleNamespace(of="Cosine", shift=1.0))
