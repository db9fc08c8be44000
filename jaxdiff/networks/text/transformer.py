"""The output, the activations and the checks that all text and image encoders share."""

from typing import NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from jaxdiff.networks.attention import num_heads

ACTIVATIONS = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_new": nn.gelu,
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "relu": nn.relu,
}
"""Activations by their names in config.json (Hendrycks & Gimpel, 2016)."""


class States(NamedTuple):
    """The output of an encoder: a state for each token, and one pooled vector."""

    tokens: Float[Array, "b n d"]
    pooled: Float[Array, "b p"] | None


def check_settings(
    family: str, width: int, heads: int, activation: str, known: tuple[str, ...] = ()
) -> None:
    """Checks the heads and the activation of an encoder's settings.

    Raises:
        ValueError: the heads do not divide the width; the activation is unknown.
    """
    known = known or tuple(ACTIVATIONS)
    num_heads(width, heads, None)
    if activation not in known:
        raise ValueError(f"{family}: activation={activation!r} must be one of {', '.join(known)}")
