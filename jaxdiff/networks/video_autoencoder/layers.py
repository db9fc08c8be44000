"""Causal layers over clips `[b, f, h, w, c]`: no frame depends on a later one.

A clip may be processed in chunks, one after another. A layer keeps the last frames of the chunk
before in the collection "history", which is empty when a clip begins:

    y, kept = network.apply({"params": params}, first, mutable=["history"])
    y, kept = network.apply({"params": params, **kept}, second, mutable=["history"])
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from jaxdiff.networks import layout
from jaxdiff.networks.attention import MultiHead
from jaxdiff.networks.convolution import convolve
from jaxdiff.networks.layers import (
    Conv,
    Initializer,
    RMSNorm,
    default_init,
    parameter,
    zero_init,
)
from jaxdiff.networks.resampling import nearest

HISTORY = "history"


class CausalConv(nn.Module):
    """A convolution over time and space whose kernel ends at the current frame.

    Height and width are kept. `zeros` frames of zeros are put before the clip; the default keeps
    the number of frames.
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
        """Returns the convolved clip; without frames if the clip is shorter than the kernel."""
        c = x.shape[-1]
        shape = (self.frames, self.size, self.size, c, self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape)
        bias = parameter(self, "bias", zero_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        x = self._with_history(layout.divided(x))
        count = (x.shape[1] - self.frames) // self.stride + 1
        taps = [x[:, i :: self.stride][:, :count] for i in range(self.frames)]
        stacked = jnp.concatenate(taps, axis=-1)
        # Frames under the kernel become channels of one 2-D convolution: XLA on CPU takes two to
        # ten times as long for a 3-D convolution and its gradients.
        kernel = rearrange(kernel, "f h w c d -> h w (f c) d")
        if self.size == 1:
            return layout.divided(stacked @ kernel[0, 0] + bias)
        side = (self.size // 2, (self.size - 1) // 2)
        y = per_frame(lambda image: convolve(image, kernel, 1, (side, side)), stacked)
        return layout.divided(y + bias)

    def _with_history(self, x: Array) -> Array:
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
    """RMSNorm and attention of one head among the places of each frame, added to the clip."""

    eps: float = 1e-24
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b f h w c"]) -> Float[Array, "b f h w c"]:
        """Returns `x + attention`."""
        h = RMSNorm(self.eps, self.dtype, name="norm")(x)
        h = rearrange(h, "b f h w c -> (b f) (h w) c")
        return x + MultiHead(1, out_init=zero_init, dtype=self.dtype)(h).reshape(x.shape)


class DownsampleClip(nn.Module):
    """Halves height and width by a convolution of stride 2, then with `halve_frames` the frames.

    The first frame of a clip has no pair: 1 + 2n frames become 1 + n.
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

    The first frame of a clip is not doubled: 1 + n frames become 1 + 2n, and the convolution in
    time does not see the first frame.
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
            doubled = rearrange(time(x[:, alone:]), "b f h w (two c) -> b (f two) h w c", two=2)
            x = jnp.concatenate([x[:, :alone], doubled], axis=1)
        conv = Conv(c // 2, dtype=self.dtype, name="conv")
        return per_frame(lambda image: conv(nearest(image)), x)


def per_frame(function: Any, x: Float[Array, "b f h w c"]) -> Float[Array, "b f h2 w2 d"]:
    """Applies a function of images `[b, h, w, c]` to each frame."""
    y = function(rearrange(x, "b f h w c -> (b f) h w c"))
    return rearrange(y, "(b f) h w c -> b f h w c", b=len(x))
