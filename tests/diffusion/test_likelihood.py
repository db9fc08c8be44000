"""Likelihoods by the flow against closed forms, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxdiff.diffusion import likelihood, oracles
from tests.support.mixtures import PROCESSES, bound, density, keys_of, mixture, points


def flow(process, oracle, x, keys, divergence, **options):
    run = functools.partial(likelihood.log_density, process, oracle, divergence=divergence)
    return jax.jit(lambda x, keys: run(x, {}, keys, **options))(x, keys)


@pytest.mark.parametrize(
    ("process", "d"), [("cosine", 1), ("cosine", 2), ("rectified_flow", 2), ("edm", 1)]
)
def test_the_flow_gives_the_density_of_a_mixture(process, d):
    """Within 1e-3 bits; fails if the divergence's sign, v, or the prior's deviation is wrong."""
    with jax.enable_x64(True):
        process = PROCESSES[process]
        oracle = mixture(process, d)
        x = points(16, d)
        exact = density(oracle, x)
        integrator = likelihood.RK4(30)
        got = flow(process, oracle, x, keys_of(16), likelihood.Exact(), integrator=integrator)
        bits = likelihood.bits_per_dimension(got[:, 0], jnp.zeros(16), d)
        expected = likelihood.bits_per_dimension(exact, jnp.zeros(16), d)
        np.testing.assert_allclose(bits, expected, atol=1e-3)
        np.testing.assert_allclose(expected, -np.asarray(exact) / (d * np.log(2)), rtol=1e-12)


@pytest.mark.parametrize(("integrator", "order"), [("Heun", 2), ("RK4", 4)])
def test_the_flow_starts_with_its_noise_and_converges_at_its_order(integrator, order):
    """Fails if the volume of z = cos(φ)·x is forgotten or a slope has the wrong weight."""
    with jax.enable_x64(True):
        process = PROCESSES["rectified_flow"]
        oracle = oracles.Gaussian(process, jnp.array([0.3, -0.2]), 0.5)
        x, level = jnp.array([[0.1, 0.4], [-0.9, 0.2]]), 0.3
        exact = norm.logpdf(x, oracle.mean, np.hypot(0.5, level)).sum(axis=1)

        def error(steps):
            method = getattr(likelihood, integrator)(steps)
            options = {"integrator": method, "noise_level": level}
            got = flow(process, oracle, x, keys_of(2), likelihood.Exact(), **options)
            return np.abs(got[:, 0] - exact).mean()

        coarse, fine = error(8), error(32)
        assert abs(np.log(coarse / fine) / np.log(4) - order) < 0.3
        assert fine < 5e-3


@pytest.mark.slow
def test_adaptive_steps_follow_the_tolerance_and_no_neighbour():
    """Fails if examples share their steps, or an error estimate sees other probes each time."""
    pytest.importorskip("diffrax")
    with jax.enable_x64(True):
        process = PROCESSES["cosine"]
        oracle, x, keys = mixture(process), points(4, 1), keys_of(4)
        method = likelihood.Adaptive(rtol=1e-4)
        run = jax.jit(
            lambda x: likelihood.log_density(
                process, oracle, x, {}, keys, likelihood.Exact(), integrator=method
            )[:, 0]
        )
        got = run(x)
        np.testing.assert_allclose(got, density(oracle, x), atol=2e-3)
        among_others = run(x.at[0].set(9.0).at[3].set(-4.0))
        np.testing.assert_array_equal(got[1:3], among_others[1:3])


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_hutchinson_is_within_its_standard_error(distribution):
    """Fails if probes are shared by examples, or their standard error is not what it claims."""
    with jax.enable_x64(True):
        process, n, probes = PROCESSES["cosine"], 64, 16
        oracle = mixture(process, 2)
        x = points(n, 2)
        options = {"integrator": likelihood.RK4(24)}
        exact = density(oracle, x)
        hutchinson = likelihood.Hutchinson(probes, distribution)
        got = flow(process, oracle, x, keys_of(n, 1), hutchinson, **options)
        assert got.shape == (n, probes)
        deviation = np.mean(got, axis=1) - exact
        standard_error = np.std(got, axis=1, ddof=1) / probes**0.5
        assert abs(np.mean(deviation)) < 3 * np.sqrt(np.mean(standard_error**2) / n)
        assert 0.6 < np.mean((deviation / standard_error) ** 2) < 1.7
        assert np.all(standard_error > 0)


def test_divergences_do_not_depend_on_the_chunk():
    """The trace of the Jacobian, on images; fails if a remainder of the chunks is lost."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        z, matrix = jnp.asarray(rng.normal(size=(3, 2, 2, 2))), rng.normal(size=(8, 8))
        f = lambda z: jnp.sin(z.reshape(-1, 8) @ matrix).reshape(z.shape)
        # d sin(Mz)_i / dz_i = cos(Mz)_i·M_ii.
        trace = np.cos(z.reshape(3, 8) @ matrix) @ np.diag(matrix)
        exact = [likelihood.Exact(chunk) for chunk in (3, 100)]
        probed = [likelihood.Hutchinson(5, chunk=chunk) for chunk in (3, 100)]
        run = jax.jit(lambda z, keys: [rule(f, z, keys) for rule in exact + probed])
        (value, one), (_, other), (_, few), (_, many) = run(z, keys_of(3))
        np.testing.assert_allclose(value, f(z))
        np.testing.assert_allclose(jnp.stack([one, other])[..., 0], [trace] * 2, rtol=1e-9)
        assert few.shape == (3, 5)
        np.testing.assert_allclose(few, many, rtol=1e-9)


@pytest.mark.slow
def test_an_example_has_the_same_likelihood_at_any_place_of_a_batch():
    """Fails if probes or noise come from the place and not from the example's key."""
    with jax.enable_x64(True):
        process = PROCESSES["cosine"]
        oracle, keys, x = mixture(process, 2), keys_of(6), points(6, 2)
        times = jnp.array([1.0, 0.5, 0.1, 0.0])

        @jax.jit
        def every(x, keys):
            return (
                likelihood.log_density(
                    process,
                    oracle,
                    x,
                    {},
                    keys,
                    likelihood.Hutchinson(2),
                    integrator=likelihood.Heun(3),
                ),
                likelihood.variational_bound(process, oracle, x, {}, times, keys).total,
                likelihood.continuous_bound(process, oracle, x, {}, keys, strata=3).total,
                likelihood.TruncatedNormal(5)(keys, jnp.round(2 * x) / 2)[0],
            )

        for values, reversed_ones in zip(every(x, keys), every(x[::-1], keys[::-1]), strict=True):
            np.testing.assert_allclose(values[::-1], reversed_ones, rtol=1e-9)


@pytest.mark.slow
def test_bits_of_levels_that_the_model_knows_are_their_entropy():
    """-log2 of each level's weight: fails if the flow's noise is not the dequantization's."""
    with jax.enable_x64(True):
        process, rule = PROCESSES["cosine"], likelihood.TruncatedNormal(3)
        weights = jnp.array([0.25, 0.5, 0.25])
        x = jnp.array([[-1.0], [0.0], [1.0]])
        oracle = oracles.GaussianMixture(process, weights, x, jnp.full(3, 1e-3))

        @jax.jit
        def run(keys):
            y, log_q = rule(keys, x)
            options = {"integrator": likelihood.RK4(40), "noise_level": rule.noise_level}
            exact = likelihood.Exact()
            return likelihood.log_density(process, oracle, y, {}, keys, exact, **options), log_q

        log_p, log_q = run(keys_of(3))
        bits = likelihood.bits_per_dimension(log_p[:, 0], log_q, 1)
        np.testing.assert_allclose(bits, -np.log2(weights), atol=0.01)
        options = {"noise_level": rule.noise_level, "levels": 3, "strata": 10}
        limit = bound(process, oracle, jnp.repeat(x, 300, axis=0), keys_of(900), **options)
        bits = limit.total.reshape(3, 300) / jnp.log(2)
        error = bits.std(axis=1) / 300**0.5
        assert np.all(np.abs(bits.mean(axis=1) + np.log2(weights)) < 4 * error + 0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: likelihood.RK4(0), "steps is 0"),
        (lambda: likelihood.Hutchinson(0), "probes is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    """Fails if a count of zero runs and gives NaN."""
    with pytest.raises(ValueError, match=message):
        make()
