"""The residual block of U-Nets."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.networks.layers import Conv, Dense, Dropout, GroupNorm, zero_init
from jaxdiff.networks.resampling import average_pool, nearest


class ResidualBlock(nn.Module):
    """GroupNorm-SiLU-convolution twice, with the embedding between them, added to the input.

    `resample` ("down", "up" or None) halves or doubles height and width after the first SiLU, and
    in the shortcut. With `scale_shift` the embedding scales and shifts the second norm's output
    (Dhariwal & Nichol, 2021); otherwise it is added before that norm (Ho et al., 2020).
    """

    features: int
    resample: str | None = None
    scale_shift: bool = False
    dropout: float = 0.0
    skip_scale: float = 1.0
    num_groups: int = 32
    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        embedding: Float[Array, "b d"] | None = None,
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b h2 w2 f"]:
        """Returns `(shortcut(x) + branch) · skip_scale`."""
        norm = lambda name: GroupNorm(self.num_groups, self.eps, self.dtype, name=name)
        resample = {None: lambda x: x, "down": average_pool, "up": nearest}[self.resample]

        h = resample(nn.silu(norm("norm_in")(x)))
        h = Conv(self.features, dtype=self.dtype, name="conv_in")(h)
        if embedding is None:
            h = norm("norm_out")(h)
        else:
            h = self._embedded(h, embedding, norm("norm_out"))
        h = Dropout(self.dropout, name="dropout")(nn.silu(h), dropout_keys)
        h = Conv(self.features, kernel_init=zero_init, dtype=self.dtype, name="conv_out")(h)

        x = resample(x)
        if x.shape[-1] != self.features:
            x = Conv(self.features, size=1, dtype=self.dtype, name="shortcut")(x)
        return (x + h) * self.skip_scale

    def _embedded(self, h: Array, embedding: Array, norm: GroupNorm) -> Array:
        width = self.features * (2 if self.scale_shift else 1)
        change = Dense(width, dtype=self.dtype, name="embedding")(nn.silu(embedding))
        change = change[:, None, None, :]
        if self.scale_shift:
            scale, shift = jnp.split(change, 2, axis=-1)
            return norm(h) * (1 + scale) + shift
        return norm(h + change)
