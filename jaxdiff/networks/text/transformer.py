"""What the encoders are made of: attention among tokens, and a perceptron for each."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdiff.networks.attention import attend, num_heads
from jaxdiff.networks.layers import Dense

ACTIVATIONS = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_new": nn.gelu,
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "relu": nn.relu,
}
"""By their names in checkpoints' settings (Hendrycks & Gimpel, 2016)."""


class States(NamedTuple):
    """What a network makes of tokens: a state for each, and a vector for all of them."""

    tokens: Float[Array, "b n d"]
    pooled: Float[Array, "b p"] | None


class Attention(nn.Module):
    """Multi-head attention among tokens (Vaswani et al., 2017).

    Attributes:
        num_heads: how many.
        head_channels: the width of one; None for the width of the tokens, divided.
        use_bias: whether the four maps have biases.
        scale: of query·key; None for 1/sqrt(head_channels).
    """

    num_heads: int
    head_channels: int | None = None
    use_bias: bool = True
    scale: float | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "#b 1 #n n"] | None = None,
        bias: Float[Array, "1 heads n n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Returns the mixed tokens; keys where `mask` is False are not looked at."""
        b, n, width = x.shape
        channels = self.head_channels or width // self.num_heads

        def project(name: str) -> Array:
            dense = Dense(
                self.num_heads * channels, use_bias=self.use_bias, dtype=self.dtype, name=name
            )
            return dense(x).reshape(b, n, self.num_heads, channels)

        query, key, value = project("query"), project("key"), project("value")
        mixed = attend(query, key, value, mask=mask, bias=bias, scale=self.scale)
        out = Dense(width, use_bias=self.use_bias, dtype=self.dtype, name="out")
        return out(mixed.reshape(b, n, -1))


class Perceptron(nn.Module):
    """Two layers for each token; the hidden one may be gated (Shazeer, 2020), without biases."""

    features: int
    activation: str
    gated: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Returns tokens of the same width."""
        dense = lambda features, name: Dense(
            features, use_bias=not self.gated, dtype=self.dtype, name=name
        )
        hidden = ACTIVATIONS[self.activation](dense(self.features, "hidden")(x))
        if self.gated:
            hidden *= dense(self.features, "gate")(x)
        return dense(x.shape[-1], "out")(hidden)


def check_settings(
    family: str, width: int, heads: int, activation: str, known: tuple[str, ...] = ()
) -> None:
    """Checks what the families' settings have in common.

    Raises:
        ValueError: the heads do not divide the width; the activation is unknown.
    """
    known = known or tuple(ACTIVATIONS)
    num_heads(width, heads, None)
    if activation not in known:
        raise ValueError(f"{family}: activation={activation!r} must be one of {', '.join(known)}")
