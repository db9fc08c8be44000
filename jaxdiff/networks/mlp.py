"""A residual MLP for points in a few dimensions."""

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.networks.conditioning import embed
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import Dense, Dropout, zero_init
from jaxdiff.networks.times import SinCos, time_embedding
from jaxdiff.options import Between, FloatType, Range, Width, checked
from jaxdiff.typing import Cond


@checked
class MLP(nn.Module):
    """Residual blocks of two layers, with the embedding of time and conditions in each.

    Attributes:
        features: the width.
        num_blocks: number of blocks.
        dropout: the rate, inside the blocks.
        time_sinusoids: sines and cosines of the time, `SinCos(...)` or `Fourier(...)`.
        inputs: the conditions; text and maps are not read.
        out_channels: None for those of the input.
        dtype: of the computation and of the output.
    """

    features: Width = 128
    num_blocks: Annotated[int, Between(0, 1000)] = 3
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.0
    time_sinusoids: nn.Module = SinCos()
    inputs: Inputs = Inputs()
    out_channels: Width | None = None
    dtype: FloatType = jnp.float32

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """Returns the layers that discriminators read by default: one of each block."""
        return ("in", *(f"block_{i}_out" for i in range(self.num_blocks)))

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b d"],
        time: Float[Array, " b"],
        cond: Cond,
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b out"]:
        """Returns points of `out_channels`; without `dropout_keys` there is no dropout."""
        dense = lambda features, name, **kw: Dense(features, dtype=self.dtype, name=name, **kw)
        embed_time = time_embedding(self, self.time_sinusoids, self.features, self.features)
        embedding = embed(self.inputs, embed_time, time, cond)

        h = dense(self.features, "in")(x)
        for i in range(self.num_blocks):
            branch = dense(self.features, f"block_{i}_in")(nn.silu(h))
            branch = nn.silu(
                branch + dense(self.features, f"block_{i}_embedding")(nn.silu(embedding))
            )
            branch = Dropout(self.dropout, name=f"block_{i}_dropout")(branch, dropout_keys)
            h += dense(self.features, f"block_{i}_out", kernel_init=zero_init)(branch)
        out = self.out_channels or x.shape[-1]
        return dense(out, "out", kernel_init=zero_init)(nn.silu(h))
