"""CLIP's encoders of text and of images (Radford et al., 2021; Cherti et al., 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.networks.layers import Dense, LayerNorm
from jaxdiff.networks.text.transformer import Attention, Perceptron, States, check_settings

embedding_init = nn.initializers.normal(0.02)


@dataclass(frozen=True)
class CLIPTextSettings:
    """The sizes of a text encoder, and which states are read.

    Attributes:
        vocabulary: the number of tokens; `positions`, how many of them at most.
        width: of the states; `mlp_width`, of the perceptrons.
        eos: the token whose state is the pooled one, where it stands first.
        projection: the width of the pooled vector through the text projection; None for without.
        clip_skip: how many of the last layers the token states leave out. The pooled vector has
            all of them.
        final_norm: whether the last norm is applied to the token states as well.

    Raises:
        ValueError: the heads do not divide the width; unknown activation; `clip_skip` is not less
            than the number of layers.
    """

    vocabulary: int = 49408
    positions: int = 77
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    activation: str = "quick_gelu"
    eps: float = 1e-5
    eos: int = 49407
    projection: int | None = None
    clip_skip: int = 0
    final_norm: bool = True

    def __post_init__(self):
        check_settings("CLIP", self.width, self.heads, self.activation)
        _check_skip(self.clip_skip, self.layers)


@dataclass(frozen=True)
class CLIPVisionSettings:
    """The sizes of an image encoder; `clip_skip` is as for text.

    Raises:
        ValueError: the heads do not divide the width, the patches not the image; unknown
            activation; `clip_skip` is not less than the number of layers.
    """

    size: int = 224
    patch: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp_width: int = 4096
    activation: str = "quick_gelu"
    eps: float = 1e-5
    projection: int | None = 768
    clip_skip: int = 0

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
    of = {**_TEXT_DEFAULTS, **(config if whole is None else whole)}
    projected = "CLIPTextModel" not in config.get("architectures", ()) or whole is not None
    projection = (config if whole is not None else of).get("projection_dim", 512)
    eos = of["eos_token_id"]
    return CLIPTextSettings(
        vocabulary=of["vocab_size"],
        positions=of["max_position_embeddings"],
        # 2 is an old error in many files: the last token is meant.
        eos=of["vocab_size"] - 1 if eos == 2 else eos,
        projection=projection if projected else None,
        **_sizes(of),
    )


def vision_from_config(config: Mapping[str, Any]) -> CLIPVisionSettings:
    """Reads a checkpoint's config.json, of the image encoder or of the whole of CLIP."""
    whole = config.get("vision_config")
    of = {**_VISION_DEFAULTS, **(config if whole is None else whole)}
    projected = "CLIPVisionModel" not in config.get("architectures", ()) or whole is not None
    projection = (config if whole is not None else of).get("projection_dim", 512)
    return CLIPVisionSettings(
        size=of["image_size"],
        patch=of["patch_size"],
        projection=projection if projected else None,
        **_sizes(of),
    )


class CLIPText(nn.Module):
    """A causal transformer whose norms come before the layers."""

    settings: CLIPTextSettings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> States:
        """Returns states [b, n, width] and the end token's vector [b, projection or width]; tokens
        where `mask` is False are not looked at."""
        of, n = self.settings, ids.shape[1]
        words = nn.Embed(of.vocabulary, of.width, name="words")(ids)
        x = words + nn.Embed(of.positions, of.width, name="positions")(jnp.arange(n))
        causal = jnp.tril(jnp.ones((n, n), bool))
        skipped, last = _layers(of, x, causal & mask[:, None, None, :], self.dtype)
        norm = LayerNorm(of.eps, self.dtype, name="norm")
        end = jnp.argmax(ids == of.eos, axis=1)
        pooled = norm(last[jnp.arange(len(ids)), end])
        if of.projection is not None:
            pooled = _project(pooled, of.projection, self.dtype)
        return States(norm(skipped) if of.final_norm else skipped, pooled)


class CLIPVision(nn.Module):
    """A transformer over the patches of an image, and one token for all of it.

    Images are normalized by the mean and the deviation of each channel in CLIP's training data:
    see `jaxdiff.networks.text.images`.
    """

    settings: CLIPVisionSettings
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b h w c"]) -> States:
        """Returns states [b, 1 + patches, width], without a last norm, and the first token's vector
        [b, projection or width].

        Raises:
            ValueError: the images are not of the network's size.
        """
        of = self.settings
        b, h, w, c = images.shape
        if (h, w) != (of.size, of.size):
            raise ValueError(f"images are {h}x{w}; this encoder takes {of.size}x{of.size}")
        norm = lambda name: LayerNorm(of.eps, self.dtype, name=name)
        side = of.size // of.patch
        patches = images.reshape(b, side, of.patch, side, of.patch, c).swapaxes(2, 3)
        kernel = self.param(
            "patches", nn.initializers.lecun_normal(), (of.patch, of.patch, c, of.width)
        )
        flat = patches.reshape(b, side * side, -1).astype(self.dtype)
        tokens = flat @ kernel.reshape(-1, of.width).astype(self.dtype)
        first = self.param("class", embedding_init, (of.width,)).astype(self.dtype)
        x = jnp.concatenate([jnp.broadcast_to(first, (b, 1, of.width)), tokens], axis=1)
        x += nn.Embed(side * side + 1, of.width, name="positions")(jnp.arange(x.shape[1]))
        skipped, last = _layers(of, norm("norm_in")(x), None, self.dtype)
        pooled = norm("norm")(last[:, 0])
        if of.projection is not None:
            pooled = _project(pooled, of.projection, self.dtype)
        return States(skipped, pooled)


class _Layer(nn.Module):
    settings: CLIPTextSettings | CLIPVisionSettings
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], mask: Array | None) -> Float[Array, "b n d"]:
        of = self.settings
        norm = lambda name: LayerNorm(of.eps, self.dtype, name=name)
        attention = Attention(of.heads, dtype=self.dtype, name="attention")
        x += attention(norm("norm_attention")(x), mask)
        mlp = Perceptron(of.mlp_width, of.activation, dtype=self.dtype, name="mlp")
        return x + mlp(norm("norm_mlp")(x))


def _layers(of, x, mask, dtype) -> tuple[jax.Array, jax.Array]:
    """Returns the states without the last `clip_skip` layers, and those with all of them."""
    states = [x]
    for i in range(of.layers):
        states.append(_Layer(of, dtype, name=f"layer_{i}")(states[-1], mask))
    return states[-1 - of.clip_skip], states[-1]


def _project(pooled: Array, features: int, dtype: Any) -> Array:
    return Dense(features, use_bias=False, dtype=dtype, name="projection")(pooled)


def _check_skip(clip_skip: int, layers: int) -> None:
    if not 0 <= clip_skip < layers:
        raise ValueError(f"clip_skip={clip_skip} must be at least 0 and below layers={layers}")


def _sizes(of: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": of["hidden_size"],
        "layers": of["num_hidden_layers"],
        "heads": of["num_attention_heads"],
        "mlp_width": of["intermediate_size"],
        "activation": of["hidden_act"],
        "eps": of["layer_norm_eps"],
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
