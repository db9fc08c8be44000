"""The encoder of T5, version 1.1 (Raffel et al., 2020; gated as in Shazeer, 2020)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.networks.attention import Attention, MultiHead
from jaxdiff.networks.layers import FeedForward, RMSNorm
from jaxdiff.networks.text.transformer import ACTIVATIONS, States
from jaxdiff.options import Depth, PositiveFloat, Width, checked


@checked
@dataclass(frozen=True)
class T5Settings:
    """The sizes of an encoder.

    Attributes:
        vocabulary: the number of tokens.
        width: of the states; `mlp_width`, of the hidden layers of the gated feed-forward parts.
        head_channels: width of a head; all heads together may be wider or narrower than the states.
        own_distances: whether each layer has a table of distances, as in UMT5 (Chung et al., 2023).
        buckets: number of classes of distances between tokens, half for each direction. Distances
            from `max_distance` on share one class.

    Raises:
        ValueError: unknown activation; the buckets are not a multiple of 4, or too many.
    """

    vocabulary: Width = 32128
    width: Width = 512
    layers: Depth = 8
    heads: Depth = 6
    head_channels: Width = 64
    mlp_width: Width = 1024
    activation: str = "gelu_new"
    buckets: Width = 32
    max_distance: Width = 128
    eps: PositiveFloat = 1e-6
    own_distances: bool = False

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"T5: activation={self.activation!r} must be one of {known}")
        if self.buckets % 4 or not 0 < self.buckets // 4 < self.max_distance:
            raise ValueError(
                f"buckets={self.buckets} must be a multiple of 4 and less than four times"
                f" max_distance={self.max_distance}"
            )


def t5_v1_1_small() -> T5Settings:
    """Returns the sizes of the encoder of T5 v1.1 small: 35 million parameters."""
    return T5Settings()


def t5_v1_1_base() -> T5Settings:
    """Returns the sizes of the encoder of T5 v1.1 base: 110 million parameters."""
    return T5Settings(width=768, layers=12, heads=12, mlp_width=2048)


def t5_v1_1_xxl() -> T5Settings:
    """Returns the sizes of the encoder of T5 v1.1 XXL: 4.8 billion parameters."""
    return T5Settings(width=4096, layers=24, heads=64, mlp_width=10240)


def umt5_xxl() -> T5Settings:
    """Returns the sizes of the encoder of UMT5 XXL: 5.7 billion parameters, of many languages."""
    return T5Settings(256384, 4096, 24, 64, mlp_width=10240, own_distances=True)


def from_config(config: Mapping[str, Any]) -> T5Settings:
    """Reads a checkpoint's config.json.

    Raises:
        ValueError: the feed-forward parts are not gated: version 1.0.
    """
    kind = config.get("feed_forward_proj", "relu")
    if not kind.startswith("gated-"):
        raise ValueError(f"feed_forward_proj={kind!r} must be gated, as in T5 v1.1: 'gated-gelu'")
    # config.json names "gelu", but the weights were trained with its tanh approximation.
    activation = kind.removeprefix("gated-")
    return T5Settings(
        vocabulary=config["vocab_size"],
        width=config["d_model"],
        layers=config["num_layers"],
        heads=config["num_heads"],
        head_channels=config["d_kv"],
        mlp_width=config["d_ff"],
        activation="gelu_new" if activation == "gelu" else activation,
        buckets=config["relative_attention_num_buckets"],
        max_distance=config.get("relative_attention_max_distance", 128),
        eps=config["layer_norm_epsilon"],
        own_distances=config.get("model_type") == "umt5",
    )


def distance_buckets(n: int, buckets: int, max_distance: int) -> Int[np.ndarray, "n n"]:
    """Returns the class of the distance from each query to each key (Raffel et al., 2020).

    Half the classes are for keys that come later. Of either half, the first half are single
    distances, and the rest divide the logarithm of the distance evenly.
    """
    distance = np.arange(n)[None, :] - np.arange(n)[:, None]
    half, single = buckets // 2, buckets // 4
    far = np.abs(distance)
    # In float32, as in the training of the released weights.
    ratio = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(single))
    share = ratio / np.float32(math.log(max_distance / single))
    wide = single + (share * np.float32(half - single)).astype(np.int32)
    bucket = np.where(far < single, far, np.minimum(wide, half - 1))
    return np.where(distance > 0, half, 0) + bucket


class T5Encoder(nn.Module):
    """A pre-norm transformer: unscaled attention with a relative position bias, no other biases."""

    settings: T5Settings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> States:
        """Returns states [b, n, width] and no pooled vector.

        Tokens where `mask` is False are ignored.
        """
        cfg = self.settings
        x = nn.Embed(cfg.vocabulary, cfg.width, name="words")(ids).astype(self.dtype)
        buckets = distance_buckets(ids.shape[1], cfg.buckets, cfg.max_distance)
        bias = None
        for i in range(cfg.layers):
            if cfg.own_distances or bias is None:
                name = f"distances_{i}" if cfg.own_distances else "distances"
                bias = nn.Embed(cfg.buckets, cfg.heads, name=name)(jnp.asarray(buckets))
                bias = rearrange(bias, "q k heads -> 1 heads q k")
            x = _Layer(cfg, self.dtype, name=f"layer_{i}")(x, mask[:, None, None, :], bias)
        return States(RMSNorm(cfg.eps, self.dtype, name="norm")(x), None)


class _Layer(nn.Module):
    settings: T5Settings
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Array, bias: Array) -> Array:
        cfg = self.settings
        norm = lambda name: RMSNorm(cfg.eps, self.dtype, name=name)
        heads = MultiHead(
            cfg.heads,
            cfg.head_channels,
            use_bias=False,
            out_bias=False,
            scale=1.0,
            dtype=self.dtype,
        )
        attention = Attention(heads, name="attention")
        x += attention(norm("norm_attention")(x), mask=mask, bias=bias)
        activation = ACTIVATIONS[cfg.activation]
        mlp = FeedForward(cfg.mlp_width, activation, gated=True, dtype=self.dtype, name="mlp")
        return x + mlp(norm("norm_mlp")(x))
