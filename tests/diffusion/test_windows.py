"""Predictions on windows: the whole picture's where they are local, means where they are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.diffusion.guidance import Windows
from jaxdiff.diffusion.guidance.windows import starts
from jaxdiff.typing import Prediction


def draw(*shape):
    return jax.random.normal(jax.random.key(0), shape)


def test_windows_begin_evenly_and_cover_the_length():
    """Fails if the last pixels have no window, or two windows are further apart than allowed."""
    for length, window, stride in [(16, 16, 8), (17, 16, 8), (40, 16, 8), (41, 16, 5), (9, 4, 4)]:
        found = starts(length, window, stride)
        assert (found[0], found[-1]) == (0, length - window)
        assert max(np.diff(found), default=0) <= stride


@pytest.mark.parametrize("shape", [(2, 20, 13, 3), (2, 3, 9, 20, 1)])
def test_a_local_denoiser_predicts_the_same_in_windows(shape):
    """Fails if windows are put back at another place, or counted otherwise than added."""
    local = lambda x, t, cond: Prediction(x**2, jnp.sin(x) + cond["map"])
    x, cond, t = draw(*shape), {"map": draw(*shape)}, jnp.full(2, 0.5)
    found = jax.jit(Windows(window=8, stride=5, of=lambda d: d)(local))(x, t, cond)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        found,
        local(x, t, cond),
    )


def test_where_windows_overlap_there_is_their_mean():
    """Fails if one window hides the other; each predicts the mean of its pixels."""
    mean = lambda x, t, cond: Prediction(
        jnp.broadcast_to(x.mean((1, 2, 3), keepdims=True), x.shape), x
    )
    x = jnp.zeros((1, 4, 6, 1)).at[:, :, 4:].set(1.0)
    found = Windows(window=4, stride=2, of=lambda d: d)(mean)(x, jnp.zeros(1), {}).x0[0, 0, :, 0]
    np.testing.assert_allclose(found, [0, 0, 0.25, 0.25, 0.5, 0.5])


def test_a_picture_of_one_window_is_asked_for_once_and_a_gap_is_an_error():
    """Fails if a picture of the size of training costs more than it did."""
    calls = []
    ask = lambda x, t, cond: calls.append(x.shape) or Prediction(x, x)
    Windows(window=8, stride=4, of=lambda d: d)(ask)(draw(1, 8, 6, 1), jnp.zeros(1), {})
    assert calls == [(1, 8, 6, 1)]
    with pytest.raises(ValueError, match="stride=9 is larger than window=8"):
        Windows(window=8, stride=9)
