"""Levels of quantized data, and the probabilities of their bins."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxdiff.diffusion.likelihood import quantization


def test_intervals_keep_their_precision_in_the_tails():
    """log(Φ(b) - Φ(a)) at 30 deviations; fails if it is taken as a difference of two ones."""
    low, high = jnp.array([29.0, -30.0, -1.0, 2.0]), jnp.array([30.0, -29.0, 1.0, jnp.inf])
    expected = [norm.logcdf(-29.0), norm.logcdf(-29.0), np.log(0.6826895), norm.logcdf(-2.0)]
    np.testing.assert_allclose(quantization.log_interval(low, high), expected, rtol=1e-5)


def test_digits_have_seventeen_levels():
    """Bytes pass for levels that were rounded to them; fails if rounding counts as a value."""
    digits = jnp.round(jnp.linspace(0, 255, 17)) / 127.5 - 1
    quantization.check_levels(digits[None], 17)
    quantization.check_levels(digits[None], 256)


def test_probabilities_of_the_levels_add_up_to_one():
    """Fails if the first or the last bin ends, or bins are not as wide as levels are apart."""
    x = jnp.broadcast_to(jnp.linspace(-1, 1, 17)[:, None], (17, 2))
    log_p = quantization.log_probability(x, jnp.full((17, 2), 0.8), jnp.full((17, 1), 0.3), 17)
    np.testing.assert_allclose(jnp.exp(log_p).sum(axis=0), [1, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "levels", "message"),
    [(0.1, 17, "levels=17: the data have values"), (1.1, 256, r"outside \[-1, 1\]")],
)
def test_other_data_than_the_levels_are_refused(value, levels, message):
    """Fails if other data than the levels are binned silently."""
    with pytest.raises(ValueError, match=message):
        quantization.check_levels(jnp.array([[value]]), levels)
