"""Layers. Parameters are float32; the computation and the output have type `dtype`."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float, Key

from jaxdiff.networks import layout
from jaxdiff.networks.convolution import Padding, convolve
from jaxdiff.random import stream

Initializer = Callable[..., Array]

default_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
"""As in the code of Ho et al. (2020)."""

zero_init = nn.initializers.zeros_init()


def parameter(
    module: nn.Module, name: str, init: Initializer, shape: tuple[int, ...]
) -> Array | np.ndarray:
    """Returns `module.param(name, init, shape)`, of which an existing one costs no trace.

    Flax traces the initializer of a parameter that exists, to compare the shapes: half of the time
    in which a U-Net with text is traced.
    """
    if module.has_variable("params", name):
        value = module.get_variable("params", name)
        if getattr(value, "shape", None) == shape:
            return value
    return module.param(name, init, shape)  # which says what is wrong with the shape


def feed_forward(
    x: Float[Array, "*b c"],
    hidden: int,
    features: int,
    activation: Callable[[Array], Array] = nn.gelu,
    *,
    gated: bool = False,
    dtype: Any = jnp.float32,
    prefix: str = "",
    out_init: Initializer = default_init,
) -> Float[Array, "*b features"]:
    """Returns two affine maps with an activation in between, inside of a compact method.

    With `gated` the hidden layer is multiplied by a third map, and none has a bias (Shazeer,
    2020). The layers are named "hidden", "gate" and "out", after `prefix`.
    """

    def dense(width: int, name: str, init: Initializer = default_init) -> Dense:
        return Dense(width, init, use_bias=not gated, dtype=dtype, name=prefix + name)

    h = activation(dense(hidden, "hidden")(x))
    if gated:
        h *= dense(hidden, "gate")(x)
    return dense(features, "out", out_init)(h)


class FeedForward(nn.Module):
    """`feed_forward` as a module that keeps the width of its input."""

    hidden: int
    activation: Callable[[Array], Array] = nn.gelu
    gated: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Returns features of the same width."""
        return feed_forward(
            x, self.hidden, x.shape[-1], self.activation, gated=self.gated, dtype=self.dtype
        )


class Dense(nn.Module):
    """An affine map of the last axis."""

    features: int
    kernel_init: Initializer = default_init
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b f"]:
        """Returns `x @ kernel + bias`."""
        kernel = parameter(self, "kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = parameter(self, "bias", zero_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        x = layout.divided(x)
        if layout.divides_tokens():  # which one axis for examples and tokens could not express
            y = x @ kernel
        else:
            # As one matrix: XLA on CPU takes twice as long for the kernel's gradient otherwise.
            y = (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], self.features)
        return layout.divided(y if bias is None else y + bias)


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
        kernel = parameter(self, "kernel", self.kernel_init, shape)
        bias = parameter(self, "bias", zero_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        x = layout.divided(x)
        if self.size == self.stride == 1:
            return layout.divided(x @ kernel[0, 0] + bias)
        side = self.padding or (self.size // 2, (self.size - 1) // 2)
        padding: Padding = (tuple(side), tuple(side))
        return layout.divided(convolve(x, kernel, self.stride, padding) + bias)


class GroupNorm(nn.Module):
    """Normalizes each group of channels of each example (Wu & He, 2018), in float32.

    The number of groups is the largest one up to `num_groups` that divides the width and leaves two
    channels in a group.
    """

    num_groups: int = 32
    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        """Returns the normalized, scaled and shifted `x`."""
        b, c = x.shape[0], x.shape[-1]
        scale = parameter(self, "scale", nn.initializers.ones_init(), (c,))
        bias = parameter(self, "bias", zero_init, (c,))
        groups = fitting_groups(self.num_groups, c)
        wide = x.astype(jnp.float32)
        # Two sums in one pass over x, then a single multiply-add.
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
    """Returns the largest divisor of the width up to `num_groups` with two channels in a group."""
    most = min(num_groups, max(channels // 2, 1))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


class LayerNorm(nn.Module):
    """Normalizes the last axis (Ba et al., 2016), in float32."""

    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Returns the normalized, scaled and shifted `x`."""
        scale = parameter(self, "scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = parameter(self, "bias", zero_init, (x.shape[-1],))
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
        scale = parameter(self, "scale", nn.initializers.ones_init(), (x.shape[-1],))
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
        """Returns `x` with dropout; without keys, `x` itself."""
        if not 0 <= self.rate < 1:
            raise ValueError(f"dropout={self.rate} must be at least 0 and below 1")
        if keys is None or self.rate == 0:
            return x
        here = stream(keys, "/".join(("dropout", *self.path)))
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(here)
        return jnp.where(kept, x / (1 - self.rate), 0).astype(x.dtype)
