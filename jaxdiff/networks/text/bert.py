"""BERT (Devlin et al., 2019), and sentence embeddings by pooling (Reimers & Gurevych, 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.networks.attention import Attention, MultiHead
from jaxdiff.networks.layers import Dense, FeedForward, LayerNorm
from jaxdiff.networks.text.transformer import ACTIVATIONS, States, check_settings
from jaxdiff.options import Depth, PositiveFloat, Width, checked


@checked
@dataclass(frozen=True)
class BERTSettings:
    """The sizes of a BERT, and how its states become one vector.

    Attributes:
        vocabulary: number of known tokens; `positions`, the most tokens in a text.
        width: of the states; `mlp_width`, of the hidden layers of the feed-forward parts.
        pooling: "mean" of the states; "cls", the first state; or "pooler", the first state through
            the checkpoint's pooler layer.
        normalize: whether the pooled vector is divided by its length.
        eps: of the norms.

    Raises:
        ValueError: the heads do not divide the width; unknown activation or pooling.
    """

    vocabulary: Width = 30522
    positions: Width = 512
    types: Width = 2
    width: Width = 768
    layers: Depth = 12
    heads: Depth = 12
    mlp_width: Width = 3072
    activation: str = "gelu"
    eps: PositiveFloat = 1e-12
    pooling: Literal["mean", "cls", "pooler"] = "mean"
    normalize: bool = False

    def __post_init__(self):
        check_settings("BERT", self.width, self.heads, self.activation)


def minilm_l6() -> BERTSettings:
    """Returns the sizes of all-MiniLM-L6-v2 (Wang et al., 2020): sentences as unit vectors."""
    return BERTSettings(width=384, layers=6, mlp_width=1536, normalize=True)


def from_config(config: Mapping[str, Any]) -> BERTSettings:
    """Reads a checkpoint's config.json."""
    kind = config.get("position_embedding_type", "absolute")
    if kind != "absolute":
        raise ValueError(f"position_embedding_type={kind!r} must be 'absolute'")
    return BERTSettings(
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        types=config["type_vocab_size"],
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_width=config["intermediate_size"],
        activation=config["hidden_act"],
        eps=config["layer_norm_eps"],
    )


class BERT(nn.Module):
    """A post-norm transformer over tokens (Devlin et al., 2019)."""

    settings: BERTSettings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> States:
        """Returns states [b, n, width] and a pooled vector [b, width].

        Tokens where `mask` is False are ignored.
        """
        cfg = self.settings
        norm = lambda name: LayerNorm(cfg.eps, self.dtype, name=name)
        words = nn.Embed(cfg.vocabulary, cfg.width, name="words")(ids)
        positions = nn.Embed(cfg.positions, cfg.width, name="positions")(jnp.arange(ids.shape[1]))
        types = nn.Embed(cfg.types, cfg.width, name="types")(jnp.zeros_like(ids))
        x = norm("norm")(words + positions + types)
        for i in range(cfg.layers):
            x = _Layer(cfg, self.dtype, name=f"layer_{i}")(x, mask[:, None, None, :])
        return States(x, self._pool(x, mask))

    def _pool(self, x: Array, mask: Array) -> Float[Array, "b d"]:
        first = x[:, 0]
        match self.settings.pooling:
            case "mean":
                kept = mask[..., None]
                pooled = jnp.where(kept, x, 0).sum(1) / jnp.maximum(kept.sum(1), 1)
            case "cls":
                pooled = first
            case "pooler":
                pooled = nn.tanh(Dense(x.shape[-1], dtype=self.dtype, name="pooler")(first))
        if self.settings.normalize:
            pooled /= jnp.maximum(jnp.linalg.norm(pooled, axis=-1, keepdims=True), 1e-12)
        return pooled


class _Layer(nn.Module):
    settings: BERTSettings
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Bool[Array, "b 1 1 n"]) -> Array:
        cfg = self.settings
        norm = lambda name: LayerNorm(cfg.eps, self.dtype, name=name)
        attention = Attention(MultiHead(cfg.heads, dtype=self.dtype), name="attention")
        x = norm("norm_attention")(x + attention(x, mask=mask))
        mlp = FeedForward(cfg.mlp_width, ACTIVATIONS[cfg.activation], dtype=self.dtype, name="mlp")
        return norm("norm_mlp")(x + mlp(x))
