"""Embeddings of the time: sines and cosines, and affine maps of them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdiff.networks.layers import feed_forward, parameter
from jaxdiff.options import NonNegativeFloat, PositiveFloat, checked


@checked
class SinCos(nn.Module):
    """Sines and cosines of the time at geometrically spaced frequencies (Vaswani et al., 2017).

    The code of Ho et al. (2020) puts the sines first and spaces the frequencies so that the last
    one is 1 / max_period: `cos_first=False, frequency_shift=1`. Dhariwal & Nichol (2021) have the
    defaults. The time is expected in steps of a thousand.
    """

    max_period: PositiveFloat = 10000.0
    cos_first: bool = True
    frequency_shift: NonNegativeFloat = 0.0

    def __call__(self, time: Float[Array, " b"], features: int) -> Float[Array, "b f"]:
        """Returns the embedding in float32; an odd last feature is zero."""
        half = features // 2
        exponent = jnp.arange(half, dtype=jnp.float32) / max(half - self.frequency_shift, 1)
        angle = time.astype(jnp.float32)[:, None] * self.max_period**-exponent
        return jnp.pad(sin_cos(angle, self.cos_first), ((0, 0), (0, features % 2)))


@checked
class Fourier(nn.Module):
    """Sines and cosines of the time at random frequencies (Tancik et al., 2020).

    Song, Y. et al. (2021) and Karras et al. (2022) use a scale of 16 and feed log sigma or
    log sigma/4. The frequencies, in radians, are a parameter that gets no gradient, and being a
    vector no weight decay.
    """

    scale: PositiveFloat = 16.0
    cos_first: bool = False

    @nn.compact
    def __call__(self, time: Float[Array, " b"], features: int) -> Float[Array, "b f"]:
        """Returns the embedding in float32; an odd last feature is zero."""
        init = nn.initializers.normal(2 * jnp.pi * self.scale)
        frequencies = jax.lax.stop_gradient(parameter(self, "frequencies", init, (features // 2,)))
        angle = time.astype(jnp.float32)[:, None] * frequencies
        return jnp.pad(sin_cos(angle, self.cos_first), ((0, 0), (0, features % 2)))


def sin_cos(angle: Float[Array, "*b f"], cos_first: bool = False) -> Float[Array, "*b 2*f"]:
    """Returns all sines and then all cosines, or the cosines first."""
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    return jnp.concatenate((cos, sin) if cos_first else (sin, cos), axis=-1)


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time through two affine maps."""

    features: int
    time_features: int
    sinusoids: nn.Module
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, time: Float[Array, " b"], added: Float[Array, "b w"] | None = None
    ) -> Float[Array, "b f"]:
        """Returns one vector per time; `added` is added to its sines and cosines."""
        h = self.sinusoids(time, self.time_features)
        h = h if added is None else h + added
        return feed_forward(h, self.features, self.features, nn.silu, dtype=self.dtype)


def time_embedding(
    network: nn.Module, sinusoids: nn.Module, features: int, time_features: int
) -> TimeEmbedding:
    """Returns the embedding of a network's time, inside of its compact method.

    The parameters of `sinusoids` are at "waves" in the network, those of the maps at "time".
    """
    sinusoids = sinusoids.clone(parent=network, name="waves")
    return TimeEmbedding(features, time_features, sinusoids, network.dtype, name="time")
