"""A transformer from the states of a text's tokens to one embedding, for contrastive losses."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdiff.networks.attention import Attention, MultiHead
from jaxdiff.networks.layers import Dense, FeedForward, LayerNorm
from jaxdiff.options import Count, Depth, FloatType, Width, checked


@checked
class TextTower(nn.Module):
    """Pre-norm transformer blocks over the states of an encoder, and the mean of the tokens.

    Attributes:
        width: of the blocks; `heads` divide it.
        layers: the number of blocks; 0 for words without an order.
    """

    embedding: Width
    width: Width = 128
    layers: Count = 2
    heads: Depth = 4
    dtype: FloatType = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None = None
    ) -> Float[Array, "b e"]:
        """Returns an embedding for each text; tokens where `mask` is False are ignored."""
        norm = lambda name: LayerNorm(dtype=self.dtype, name=name)
        mask = jnp.ones(tokens.shape[:2], bool) if mask is None else mask
        x = Dense(self.width, dtype=self.dtype, name="in")(tokens)
        for i in range(self.layers):
            attention = Attention(MultiHead(self.heads, dtype=self.dtype), name=f"attention_{i}")
            x += attention(norm(f"norm_attention_{i}")(x), mask=mask[:, None, None, :])
            mlp = FeedForward(4 * self.width, nn.gelu, dtype=self.dtype, name=f"mlp_{i}")
            x += mlp(norm(f"norm_mlp_{i}")(x))
        kept = mask[..., None]
        mean = jnp.where(kept, norm("norm")(x), 0).sum(1) / jnp.maximum(kept.sum(1), 1)
        return nn.Dense(self.embedding, name="out")(mean.astype(jnp.float32))
