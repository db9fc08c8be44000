"""Several conditions, each where its mask is: against Gaussians, whose means mix as masks do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.diffusion.guidance import ClassifierFree, Regional
from jaxdiff.diffusion.guidance.regions import fitted_mask
from jaxdiff.diffusion.process import Process, expand
from jaxdiff.diffusion.schedules import RectifiedFlow
from jaxdiff.typing import Condition, Prediction

PROCESS, STD = Process(RectifiedFlow()), 0.5


def denoiser(x, t, cond):
    """Pixels of a Gaussian around the condition's value; around 0 where it is dropped."""
    condition = cond["mean"]
    mean = condition.value if isinstance(condition, Condition) else condition
    if isinstance(condition, Condition) and condition.keep is not None:
        mean = jnp.where(condition.keep, mean, 0.0)
    mean = expand(mean, x)
    alpha, sigma = PROCESS.at(t, x)
    innovation = (x - alpha * mean) / (alpha**2 * STD**2 + sigma**2)
    return Prediction(mean + alpha * STD**2 * innovation, sigma * innovation)


def draw(*shape):
    return jax.random.normal(jax.random.key(0), shape)


def at(*values):
    return {"mean": jnp.array(values)}


T = jnp.array([0.3, 0.8])


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (2, 5, 4, 6, 1)])
def test_means_of_gaussians_mix_as_the_weights_say(shape):
    """Fails if weights are not divided by their sum, or the rest is not the call's condition."""
    x, masks = draw(*shape), jax.random.uniform(jax.random.key(1), (2, 2, 4, 6, 1))
    masks = masks.at[:, :, 0].set(0.9).at[:, :, 1].set(0.0)
    conditions = [at(1.0, 2.0), at(-1.0, 0.5)]
    found = jax.jit(Regional(conditions, tuple(masks))(denoiser))(x, T, at(3.0, 4.0))
    total = masks.sum(0)
    shares = masks / jnp.maximum(total, 1)
    mean = sum(
        share * expand(c["mean"], share) for share, c in zip(shares, conditions, strict=True)
    )
    mean += jnp.maximum(1 - total, 0) * expand(jnp.array([3.0, 4.0]), total)
    mean = jnp.expand_dims(mean, range(1, x.ndim - 3))
    alpha, sigma = PROCESS.at(T, x)
    innovation = (x - alpha * mean) / (alpha**2 * STD**2 + sigma**2)
    np.testing.assert_allclose(found.x0, mean + alpha * STD**2 * innovation, atol=1e-5)
    np.testing.assert_allclose(found.noise, sigma * innovation, atol=1e-5)
    assert not np.allclose(shares[0], masks[0])


@pytest.mark.parametrize("guide", [lambda d: d, ClassifierFree(3.0)])
def test_a_mask_of_ones_is_the_plain_condition_bit_for_bit(guide):
    """Fails if the call's condition leaks in, or guidance drops a region's."""
    x, ones = draw(2, 4, 6, 3), jnp.ones((2, 4, 6, 1))
    guided = guide(denoiser)
    whole = jax.jit(Regional([at(1.0, 2.0)], (ones,))(guided))(x, T, at(3.0, 4.0))
    plain = jax.jit(guided)(x, T, at(1.0, 2.0))
    jax.tree.map(np.testing.assert_array_equal, whole, plain)
    half = ones.at[:, :2].set(0)
    both = jax.jit(Regional([at(1.0, 2.0)], (half,))(guided))(x, T, at(3.0, 4.0))
    other = jax.jit(guided)(x, T, at(3.0, 4.0))
    jax.tree.map(
        lambda a, b, c: np.testing.assert_allclose(a, np.where(half > 0, b, c), atol=1e-5),
        both, plain, other,
    )  # fmt: skip


def test_a_region_may_have_a_condition_that_the_call_has_not():
    """Fails if the call's prediction sees a region's condition where it has none."""
    x = draw(2, 4, 6, 3)
    found = Regional([at(1.0, 2.0)], (jnp.zeros((2, 4, 6, 1)),))(denoiser)(x, T, {})
    jax.tree.map(np.testing.assert_array_equal, found[:2], denoiser(x, T, at(0.0, 0.0))[:2])


def test_masks_of_pixels_fit_latents():
    """Fails if height and width are exchanged, or one mask is not for all."""
    mask = jnp.zeros((1, 8, 12)).at[:, :4, :6].set(1.0)
    fitted = fitted_mask(mask, (3, 4, 6, 5))
    assert fitted.shape == (3, 4, 6, 1)
    np.testing.assert_array_equal(fitted[2, ..., 0], mask[0, ::2, ::2])
