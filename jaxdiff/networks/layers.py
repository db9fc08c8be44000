"""The layers that networks are made of. Parameters are float32; `dtype` is that of the compute."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Key

from jaxdiff.networks.convolution import Padding, convolve
from jaxdiff.random import stream

Initializer = Callable[..., Array]

default_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
"""As in the code of Ho et al. (2020)."""

zero_init = nn.initializers.zeros_init()


class SinCos(nn.Module):
    """Sines and cosines of the time at geometrically spaced frequencies (Vaswani et al., 2017).

    The code of Ho et al. (2020) puts the sines first and spaces the frequencies so that the last
    one is 1 / max_period: `cos_first=False, frequency_shift=1`. Dhariwal & Nichol (2021) have the
    defaults. The time is expected in steps of a thousand.
    """

    max_period: float = 10000.0
    cos_first: bool = True
    frequency_shift: float = 0.0

    def __call__(self, time: Float[Array, " b"], features: int) -> Float[Array, "b f"]:
        """Returns the embedding in float32; an odd last feature is zero."""
        half = features // 2
        exponent = jnp.arange(half, dtype=jnp.float32) / max(half - self.frequency_shift, 1)
        angle = time.astype(jnp.float32)[:, None] * self.max_period**-exponent
        waves = (
            (jnp.cos(angle), jnp.sin(angle)) if self.cos_first else (jnp.sin(angle), jnp.cos(angle))
        )
        return jnp.pad(jnp.concatenate(waves, axis=-1), ((0, 0), (0, features % 2)))


class Fourier(nn.Module):
    """Sines and cosines of the time at random frequencies (Tancik et al., 2020).

    Song, Y. et al. (2021) and Karras et al. (2022) use a scale of 16 and feed log sigma or
    log sigma/4. The frequencies, in radians, are a parameter that gets no gradient, and being a
    vector no weight decay.
    """

    scale: float = 16.0
    cos_first: bool = False

    @nn.compact
    def __call__(self, time: Float[Array, " b"], features: int) -> Float[Array, "b f"]:
        """Returns the embedding in float32; an odd last feature is zero."""
        init = nn.initializers.normal(2 * jnp.pi * self.scale)
        frequencies = jax.lax.stop_gradient(self.param("frequencies", init, (features // 2,)))
        angle = time.astype(jnp.float32)[:, None] * frequencies
        waves = (
            (jnp.cos(angle), jnp.sin(angle)) if self.cos_first else (jnp.sin(angle), jnp.cos(angle))
        )
        return jnp.pad(jnp.concatenate(waves, axis=-1), ((0, 0), (0, features % 2)))


class TimeEmbedding(nn.Module):
    """Features of the time through a perceptron with one hidden layer."""

    features: int
    wave_features: int
    waves: nn.Module
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, time: Float[Array, " b"]) -> Float[Array, "b f"]:
        """Returns one vector per time."""
        waves = self.waves(time, self.wave_features)
        hidden = Dense(self.features, dtype=self.dtype, name="hidden")(waves)
        return Dense(self.features, dtype=self.dtype, name="out")(nn.silu(hidden))


class Dense(nn.Module):
    """An affine map of the last axis."""

    features: int
    kernel_init: Initializer = default_init
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b f"]:
        """Returns `x @ kernel + bias`."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", zero_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        # As one matrix: XLA on CPU takes twice as long for the kernel's gradient otherwise.
        y = x.reshape(-1, x.shape[-1]) @ kernel
        y = y if bias is None else y + bias
        return y.reshape(*x.shape[:-1], self.features)


class Conv(nn.Module):
    """A convolution with a square kernel.

    `padding` is (before, after) on both axes; None keeps the size that stride 1 would keep.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: tuple[int, int] | None = None
    kernel_init: Initializer = default_init
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 f"]:
        """Returns the convolved image."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", zero_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if self.size == self.stride == 1:
            return x @ kernel[0, 0] + bias
        side = self.padding or (self.size // 2, (self.size - 1) // 2)
        padding: Padding = (tuple(side), tuple(side))
        return convolve(x, kernel, self.stride, padding) + bias


class GroupNorm(nn.Module):
    """Normalizes each group of channels of each example (Wu & He, 2018), in float32.

    Where `num_groups` does not suit the width, the largest number below it is taken that divides
    the width and leaves two channels in a group.
    """

    num_groups: int = 32
    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        """Returns the normalized, scaled and shifted `x`."""
        b, c = x.shape[0], x.shape[-1]
        scale = self.param("scale", nn.initializers.ones_init(), (c,))
        bias = self.param("bias", zero_init, (c,))
        groups = fitting_groups(self.num_groups, c)
        wide = x.astype(jnp.float32)
        # Two sums in one pass over x, then a single multiply-add: as few passes as there can be.
        space = tuple(range(1, x.ndim - 1))
        count = x.size // (b * groups)
        per_group = lambda sums: sums.reshape(b, groups, -1).sum(-1) / count
        mean, square = per_group(wide.sum(space)), per_group(jnp.square(wide).sum(space))
        inverse = jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0) + self.eps)
        spread = lambda value: jnp.repeat(value, c // groups, axis=-1)
        factor = spread(inverse) * scale
        offset = bias - spread(mean) * factor
        broadcast = (b, *(1 for _ in space), c)
        return (wide * factor.reshape(broadcast) + offset.reshape(broadcast)).astype(self.dtype)


def fitting_groups(num_groups: int, channels: int) -> int:
    """Returns the largest number of groups up to `num_groups` that suits the width."""
    most = min(num_groups, max(channels // 2, 1))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


class LayerNorm(nn.Module):
    """Normalizes the last axis (Ba et al., 2016), in float32."""

    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Returns the normalized, scaled and shifted `x`."""
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", zero_init, (x.shape[-1],))
        return (standardized(x, self.eps) * scale + bias).astype(self.dtype)


def standardized(x: Float[Array, "*b c"], eps: float) -> Float[Array, "*b c"]:
    """Returns the last axis with mean 0 and variance 1, in float32."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + eps)


class RMSNorm(nn.Module):
    """Divides the last axis by its root mean square (Zhang & Sennrich, 2019), in float32."""

    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Returns the normalized and scaled `x`."""
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        wide = x.astype(jnp.float32)
        square = jnp.square(wide).mean(-1, keepdims=True)
        return (wide * jax.lax.rsqrt(square + self.eps) * scale).astype(self.dtype)


class Dropout(nn.Module):
    """Zeros features at random, each example by its own key and this module's place in the network.

    Raises:
        ValueError: `rate` is not in [0, 1).
    """

    rate: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *shape"], keys: Key[Array, " b"] | None
    ) -> Float[Array, "b *shape"]:
        """Returns `x` with dropout, or as it is without keys."""
        if not 0 <= self.rate < 1:
            raise ValueError(f"dropout={self.rate} must be at least 0 and below 1")
        if keys is None or self.rate == 0:
            return x
        here = stream(keys, "/".join(("dropout", *self.path)))
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(here)
        return jnp.where(kept, x / (1 - self.rate), 0).astype(x.dtype)


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Halves height and width by the mean of 2×2 places."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def nearest(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Doubles height and width by repeating each place 2×2 times."""
    b, h, w, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return wide.reshape(b, 2 * h, 2 * w, c)


class Downsample(nn.Module):
    """Halves height and width by a convolution of stride 2.

    `padding` is (before, after): (1, 1), or (0, 1) as in the released weights of Ho et al. (2020).
    """

    padding: Sequence[int] = (1, 1)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Returns the smaller image."""
        conv = Conv(
            x.shape[-1], stride=2, padding=tuple(self.padding), dtype=self.dtype, name="conv"
        )
        return conv(x)


class Upsample(nn.Module):
    """Doubles height and width by repetition and a convolution."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Returns the larger image."""
        return Conv(x.shape[-1], dtype=self.dtype, name="conv")(nearest(x))
