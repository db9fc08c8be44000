"""CLIP's encoders of text and of images (Radford et al., 2021; Cherti et al., 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.networks.attention import Attention, MultiHead
from jaxdiff.networks.layers import Dense, FeedForward, LayerNorm
from jaxdiff.networks.text.transformer import ACTIVATIONS, States, check_settings
from jaxdiff.options import Count, Depth, PositiveFloat, Width, checked

embedding_init = nn.initializers.normal(0.02)


@checked
@dataclass(frozen=True)
class CLIPTextSettings:
    """The sizes of a text encoder, and which states are read.

    Attributes:
        vocabulary: number of known tokens; `positions`, the most tokens in a text.
        width: of the states; `mlp_width`, of the hidden layers of the feed-forward parts.
        eos: the end token; the state at its first place is the pooled vector.
        projection: width of the pooled vector after a linear map; None for no map.
        clip_skip: number of last layers that the token states skip; the pooled vector skips none.
        final_norm: whether the last norm is applied to the token states as well.

    Raises:
        ValueError: the heads do not divide the width; unknown activation; `clip_skip` is not less
            than the number of layers.
    """

    vocabulary: Width = 49408
    positions: Width = 77
    width: Width = 768
    layers: Depth = 12
    heads: Depth = 12
    mlp_width: Width = 3072
    activation: str = "quick_gelu"
    eps: PositiveFloat = 1e-5
    eos: Count = 49407
    projection: Width | None = None
    clip_skip: Count = 0
    final_norm: bool = True

    def __post_init__(self):
        check_settings("CLIP", self.width, self.heads, self.activation)
        _check_skip(self.clip_skip, self.layers)


@checked
@dataclass(frozen=True)
class CLIPVisionSettings:
    """The sizes of an image encoder; `clip_skip` is as for text.

    Raises:
        ValueError: the heads do not divide the width, the patches not the image; unknown
            activation; `clip_skip` is not less than the number of layers.
    """

    size: Width = 224
    patch: Width = 14
    width: Width = 1024
    layers: Depth = 24
    heads: Depth = 16
    mlp_width: Width = 4096
    activation: str = "quick_gelu"
    eps: PositiveFloat = 1e-5
    projection: Width | None = 768
    clip_skip: Count = 0

    def __post_init__(self):
        check_settings("CLIP", self.width, self.heads, self.activation)
        _check_skip(self.clip_skip, self.layers)
        if self.size % self.patch:
            raise ValueError(f"patch={self.patch} does not divide size={self.size}")


def clip_vit_l_14(projection: int | None = None) -> CLIPTextSettings:
    """Returns the sizes of the text encoder of OpenAI's ViT-L/14: that of Stable Diffusion 1."""
    return CLIPTextSettings(projection=projection)


def openclip_bigg_14() -> CLIPTextSettings:
    """Returns the sizes of OpenCLIP's ViT-bigG/14: the second text encoder of SDXL.

    There the states before the last layer are read.
    """
    return CLIPTextSettings(
        width=1280, layers=32, heads=20, mlp_width=5120, activation="gelu", projection=1280,
        clip_skip=1, final_norm=False,
    )  # fmt: skip


def clip_vision_l_14() -> CLIPVisionSettings:
    """Returns the sizes of the image encoder of OpenAI's ViT-L/14."""
    return CLIPVisionSettings()


def openclip_vision_h_14() -> CLIPVisionSettings:
    """Returns the sizes of the image encoder of OpenCLIP's ViT-H/14."""
    return CLIPVisionSettings(
        width=1280, layers=32, mlp_width=5120, activation="gelu", projection=1024
    )


def text_from_config(config: Mapping[str, Any]) -> CLIPTextSettings:
    """Reads a checkpoint's config.json, of the text encoder or of the whole of CLIP."""
    whole = config.get("text_config")
    cfg = {**_TEXT_DEFAULTS, **(config if whole is None else whole)}
    projected = "CLIPTextModel" not in config.get("architectures", ()) or whole is not None
    projection = (config if whole is not None else cfg).get("projection_dim", 512)
    eos = cfg["eos_token_id"]
    return CLIPTextSettings(
        vocabulary=cfg["vocab_size"],
        positions=cfg["max_position_embeddings"],
        # 2 is an old error in many files: the last token is meant.
        eos=cfg["vocab_size"] - 1 if eos == 2 else eos,
        projection=projection if projected else None,
        **_sizes(cfg),
    )


def vision_from_config(config: Mapping[str, Any]) -> CLIPVisionSettings:
    """Reads a checkpoint's config.json, of the image encoder or of the whole of CLIP."""
    whole = config.get("vision_config")
    cfg = {**_VISION_DEFAULTS, **(config if whole is None else whole)}
    projected = "CLIPVisionModel" not in config.get("architectures", ()) or whole is not None
    projection = (config if whole is not None else cfg).get("projection_dim", 512)
    return CLIPVisionSettings(
        size=cfg["image_size"],
        patch=cfg["patch_size"],
        projection=projection if projected else None,
        **_sizes(cfg),
    )


class CLIPText(nn.Module):
    """A causal pre-norm transformer over tokens (Radford et al., 2021)."""

    settings: CLIPTextSettings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> States:
        """Returns states [b, n, width] and the end token's vector [b, projection or width].

        Tokens where `mask` is False are ignored.
        """
        cfg, n = self.settings, ids.shape[1]
        words = nn.Embed(cfg.vocabulary, cfg.width, name="words")(ids)
        x = words + nn.Embed(cfg.positions, cfg.width, name="positions")(jnp.arange(n))
        causal = jnp.tril(jnp.ones((n, n), bool))
        skipped, last = _layers(cfg, x, causal & mask[:, None, None, :], self.dtype)
        norm = LayerNorm(cfg.eps, self.dtype, name="norm")
        end = jnp.argmax(ids == cfg.eos, axis=1)
        pooled = norm(last[jnp.arange(len(ids)), end])
        if cfg.projection is not None:
            pooled = _project(pooled, cfg.projection, self.dtype)
        return States(norm(skipped) if cfg.final_norm else skipped, pooled)


class CLIPVision(nn.Module):
    """A transformer over the patches of an image and one class token (Dosovitskiy et al., 2021).

    Images are normalized by the mean and the deviation of each channel in CLIP's training data:
    see `jaxdiff.networks.text.images`.
    """

    settings: CLIPVisionSettings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b h w c"]) -> States:
        """Returns states [b, 1 + patches, width] and the class token's vector [b, projection].

        The states are taken before the last norm.

        Raises:
            ValueError: the images are not of the network's size.
        """
        cfg = self.settings
        b, h, w, c = images.shape
        if (h, w) != (cfg.size, cfg.size):
            raise ValueError(f"images are {h}x{w}; this encoder takes {cfg.size}x{cfg.size}")
        norm = lambda name: LayerNorm(cfg.eps, self.dtype, name=name)
        side = cfg.size // cfg.patch
        kernel = self.param(
            "patches", nn.initializers.lecun_normal(), (cfg.patch, cfg.patch, c, cfg.width)
        )
        patches = rearrange(
            images, "b (h ph) (w pw) c -> b (h w) (ph pw c)", ph=cfg.patch, pw=cfg.patch
        )
        tokens = patches.astype(self.dtype) @ kernel.reshape(-1, cfg.width).astype(self.dtype)
        first = self.param("class", embedding_init, (cfg.width,)).astype(self.dtype)
        x = jnp.concatenate([repeat(first, "c -> b 1 c", b=b), tokens], axis=1)
        x += nn.Embed(side * side + 1, cfg.width, name="positions")(jnp.arange(x.shape[1]))
        skipped, last = _layers(cfg, norm("norm_in")(x), None, self.dtype)
        pooled = norm("norm")(last[:, 0])
        if cfg.projection is not None:
            pooled = _project(pooled, cfg.projection, self.dtype)
        return States(skipped, pooled)


class _Layer(nn.Module):
    settings: CLIPTextSettings | CLIPVisionSettings
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Array | None) -> Float[Array, "b n d"]:
        cfg = self.settings
        norm = lambda name: LayerNorm(cfg.eps, self.dtype, name=name)
        attention = Attention(MultiHead(cfg.heads, dtype=self.dtype), name="attention")
        x += attention(norm("norm_attention")(x), mask=mask)
        mlp = FeedForward(cfg.mlp_width, ACTIVATIONS[cfg.activation], dtype=self.dtype, name="mlp")
        return x + mlp(norm("norm_mlp")(x))


def _layers(cfg, x, mask, dtype) -> tuple[jax.Array, jax.Array]:
    """Returns the states without the last `clip_skip` layers, and those with all of them."""
    states = [x]
    for i in range(cfg.layers):
        states.append(_Layer(cfg, dtype, name=f"layer_{i}")(states[-1], mask))
    return states[-1 - cfg.clip_skip], states[-1]


def _project(pooled: Array, features: int, dtype: Any) -> Array:
    return Dense(features, use_bias=False, dtype=dtype, name="projection")(pooled)


def _check_skip(clip_skip: int, layers: int) -> None:
    if not 0 <= clip_skip < layers:
        raise ValueError(f"clip_skip={clip_skip} must be at least 0 and below layers={layers}")


def _sizes(cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": cfg["hidden_size"],
        "layers": cfg["num_hidden_layers"],
        "heads": cfg["num_attention_heads"],
        "mlp_width": cfg["intermediate_size"],
        "activation": cfg["hidden_act"],
        "eps": cfg["layer_norm_eps"],
    }


# What a config.json may leave out.
_TEXT_DEFAULTS = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5, "eos_token_id": 49407,
}  # fmt: skip
_VISION_DEFAULTS = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}  # fmt: skip
