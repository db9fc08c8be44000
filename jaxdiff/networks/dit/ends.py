"""The entrance and the exit that diffusion transformers share, inside of a compact method."""

from typing import Any

from jaxtyping import Array, Float

from jaxdiff.networks.dit.blocks import modulate
from jaxdiff.networks.dit.positions import Positions
from jaxdiff.networks.layers import Dense, zero_init


def as_clip(x: Float[Array, "b *space c"]) -> Float[Array, "b f h w c"]:
    """Returns an image as a clip of one frame, and a clip itself."""
    return x[:, None] if x.ndim == 4 else x


def to_tokens(
    patches: Float[Array, "b n p"],
    places: Float[Array, "#b n 3"],
    positions: Positions,
    features: int,
    dtype: Any,
) -> Float[Array, "b n features"]:
    """Returns a linear map of the patches, plus the positional embedding if it is one to add."""
    h = Dense(features, dtype=dtype, name="patches")(patches)
    added = positions.added(places, features)
    return h if added is None else h + added.astype(dtype)


def to_output(
    h: Float[Array, "b n d"],
    parts: list[Float[Array, "b #n d"]],
    features: int,
    eps: float,
    dtype: Any,
    rms_norm: bool = False,
) -> Float[Array, "b n features"]:
    """Returns a linear map of the normalized tokens, scaled and shifted; zero at first."""
    h = modulate(h, *parts, eps, dtype, rms_norm="norm_out" if rms_norm else None)
    return Dense(features, kernel_init=zero_init, dtype=dtype, name="out")(h)
