"""Points inside the bins of quantized data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff import random
from jaxdiff.diffusion import likelihood


def keys_of(n):
    return random.example_keys(jax.random.key(0), jnp.arange(n))


def test_data_of_equal_levels_have_log2_levels_bits():
    """Under the uniform density; fails if the bin's width is 2/levels or its volume is left out."""
    with jax.enable_x64(True):
        count = 17
        x = jnp.asarray(np.random.default_rng(0).choice(np.linspace(-1, 1, count), (4000, 3)))
        y, log_q = jax.jit(likelihood.Uniform(count))(keys_of(4000), x)
        edge = 1 + 1 / (count - 1)
        assert -edge < y.min() < -edge + 1e-3 < edge - 1e-3 < y.max() < edge
        log_p = jnp.full(4000, -3 * jnp.log(2 * edge))
        bits = likelihood.bits_per_dimension(log_p, log_q, 3)
        np.testing.assert_allclose(bits, np.log2(count), rtol=1e-9)
    assert likelihood.Uniform().noise_level == pytest.approx(0.1 * 2 / 255)


def test_the_truncated_normal_is_a_density_on_the_bin():
    """E[1/q] is the bin's width; fails if log q forgets what was cut off, or the noise level."""
    with jax.enable_x64(True):
        rule, x = likelihood.TruncatedNormal(5, edge=1.5), jnp.full((4000, 1), 0.49)
        y, log_q = jax.jit(rule)(keys_of(4000), x)
        assert 0.25 < y.min() < 0.27 and 0.73 < y.max() < 0.75
        np.testing.assert_allclose(jnp.mean(jnp.exp(-log_q)), 0.5, rtol=0.04)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: likelihood.Uniform(1), "levels is 1"),
        (lambda: likelihood.TruncatedNormal(17, edge=0.0), "edge is 0.0"),
    ],
)
def test_impossible_options_are_refused(make, message):
    """Fails if a single level, or edges at no distance, are taken."""
    with pytest.raises(ValueError, match=message):
        make()
