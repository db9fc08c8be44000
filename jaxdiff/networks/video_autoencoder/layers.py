"""Layers over clips `[b, f, h, w, c]` that see no frame before its time.

A clip may also go through them in chunks, one after another. What a layer has to remember of the
chunk before is in the collection "history", which is empty when a clip begins:

    y, kept = network.apply({"params": params}, first, mutable=["history"])
    y, kept = network.apply({"params": params, **kept}, second, mutable=["history"])
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from jaxdiff.networks.attention import attend
from jaxdiff.networks.convolution import convolve
from jaxdiff.networks.layers import (
    Conv,
    Dense,
    Initializer,
    RMSNorm,
    default_init,
    nearest,
    zero_init,
)

HISTORY = "history"


class CausalConv(nn.Module):
    """A convolution over time and space that ends, in time, at the frame whose place it takes.

    In space it keeps the size. In time it has `zeros` frames of zeros before the clip, as many as
    keep the number of frames unless it is given.
    """

    features: int
    frames: int = 3
    size: int = 3
    stride: int = 1
    zeros: int | None = None
    kernel_init: Initializer = default_init
    dtype: Any = jnp.float32

    def begins(self) -> bool:
        """Returns whether the next frames are a clip's first."""
        return not self.has_variable(HISTORY, "frames")

    @nn.compact
    def __call__(self, x: Float[Array, "b f h w c"]) -> Float[Array, "b f2 h w d"]:
        """Returns the convolved clip; no frames where there are too few for the kernel."""
        c = x.shape[-1]
        shape = (self.frames, self.size, self.size, c, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", zero_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        x = self._after_the_past(x)
        count = (x.shape[1] - self.frames) // self.stride + 1
        taps = [x[:, i :: self.stride][:, :count] for i in range(self.frames)]
        stacked = jnp.concatenate(taps, axis=-1)
        # The taps of time are channels of one convolution of images: XLA on CPU takes two to ten
        # times as long for one over three axes, and for its gradients.
        kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(*shape[1:3], -1, self.features)
        if self.size == 1:
            return stacked @ kernel[0, 0] + bias
        side = (self.size // 2, (self.size - 1) // 2)
        return per_frame(lambda image: convolve(image, kernel, 1, (side, side)), stacked) + bias

    def _after_the_past(self, x: Array) -> Array:
        kept = self.frames - self.stride
        if not self.begins():
            x = jnp.concatenate([self.get_variable(HISTORY, "frames"), x], axis=1)
        elif zeros := kept if self.zeros is None else self.zeros:
            x = jnp.pad(x, ((0, 0), (zeros, 0), (0, 0), (0, 0), (0, 0)))
        if kept and self.is_mutable_collection(HISTORY) and not self.is_initializing():
            self.put_variable(HISTORY, "frames", x[:, -kept:])
        return x


class ClipResidualBlock(nn.Module):
    """RMSNorm-SiLU-convolution twice, added to the input."""

    features: int
    eps: float = 1e-24
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b f h w c"]) -> Float[Array, "b f h w d"]:
        """Returns `shortcut(x) + branch`."""
        norm = lambda name: RMSNorm(self.eps, self.dtype, name=name)
        conv = lambda name, **options: CausalConv(
            self.features, dtype=self.dtype, name=name, **options
        )
        h = conv("conv_in")(nn.silu(norm("norm_in")(x)))
        h = conv("conv_out", kernel_init=zero_init)(nn.silu(norm("norm_out")(h)))
        if x.shape[-1] != self.features:
            x = conv("shortcut", frames=1, size=1)(x)
        return x + h


class FrameAttention(nn.Module):
    """Attention of one head among the places of each frame, with its norm, added to its input."""

    eps: float = 1e-24
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b f h w c"]) -> Float[Array, "b f h w c"]:
        """Returns `x + attention`."""
        b, f, h, w, c = x.shape
        tokens = RMSNorm(self.eps, self.dtype, name="norm")(x).reshape(b * f, h * w, c)
        project = lambda name: Dense(c, dtype=self.dtype, name=name)(tokens)[:, :, None]
        mixed = attend(project("query"), project("key"), project("value")).reshape(x.shape)
        return x + Dense(c, kernel_init=zero_init, dtype=self.dtype, name="out")(mixed)


class DownsampleClip(nn.Module):
    """Halves height and width by a convolution of stride 2, then with `halve_frames` the frames.

    The first frame of a clip stays alone: 1 + 2n frames become 1 + n.
    """

    halve_frames: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b f h w c"]) -> Float[Array, "b f2 h2 w2 c"]:
        """Returns the smaller clip."""
        c = x.shape[-1]
        x = per_frame(Conv(c, stride=2, padding=(0, 1), dtype=self.dtype, name="conv"), x)
        if not self.halve_frames:
            return x
        time = CausalConv(c, size=1, stride=2, zeros=0, dtype=self.dtype, name="time")
        first = x[:, :1] if time.begins() else x[:, :0]
        return jnp.concatenate([first, time(x)], axis=1)


class UpsampleClip(nn.Module):
    """Doubles, with `double_frames`, the frames, then height and width; halves the channels.

    The first frame of a clip stays alone: 1 + n frames become 1 + 2n, and the convolution that
    makes two of one does not see the first.
    """

    double_frames: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b f h w c"]) -> Float[Array, "b f2 h2 w2 c2"]:
        """Returns the larger clip."""
        c = x.shape[-1]
        if self.double_frames:
            time = CausalConv(2 * c, size=1, dtype=self.dtype, name="time")
            alone = 1 if time.begins() else 0
            pairs = jnp.stack(jnp.split(time(x[:, alone:]), 2, axis=-1), axis=2)
            doubled = pairs.reshape(x.shape[0], -1, *x.shape[2:])
            x = jnp.concatenate([x[:, :alone], doubled], axis=1)
        conv = Conv(c // 2, dtype=self.dtype, name="conv")
        return per_frame(lambda image: conv(nearest(image)), x)


def per_frame(function: Any, x: Float[Array, "b f h w c"]) -> Float[Array, "b f h2 w2 d"]:
    """Returns what a function of images `[b, h, w, c]` makes of each frame."""
    y = function(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])
