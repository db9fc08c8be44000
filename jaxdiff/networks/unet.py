"""The U-Net of the DDPM, ADM and Stable Diffusion family."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.networks.attention import SelfAttention
from jaxdiff.networks.blocks import ResidualBlock
from jaxdiff.networks.conditioning import embed, read_text, with_maps
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import (
    Conv,
    Downsample,
    GroupNorm,
    SinCos,
    TimeEmbedding,
    Upsample,
    zero_init,
)
from jaxdiff.networks.transformer import SpatialTransformer
from jaxdiff.typing import Cond


class UNet(nn.Module):
    """Residual blocks down to small images and up again, with skip connections in between.

    The order of the blocks is that of Ho et al. (2020); the options give the variants of Song et
    al. (2021, DDPM++), Dhariwal & Nichol (2021, ADM) and Rombach et al. (2022, without text).

    Attributes:
        channels: the width of each level, from the full image size down.
        layers_per_block: residual blocks of a level on the way down; one more on the way up.
        attention_at: image heights at which each residual block is followed by self-attention.
        transformer_depth: for each level, how many transformer blocks follow each residual block
            in place of self-attention; None for none at all.
        middle_depth: the same between the two blocks at the smallest size; None for as many as at
            the last level.
        num_heads: heads of the attention; `head_channels`, the width of one, overrules it. Either
            is one for all levels, or one for each.
        middle_attention: whether attention stands between the two blocks at the smallest size.
        scale_shift: whether the embedding scales and shifts a norm's output, or is added.
        resample_in_block: whether residual blocks change the size, or convolutions of their own.
        downsample_padding: zeros (before, after) for a convolution that halves the size.
        skip_scale: factor on the sum of a residual block, or of self-attention, and its input: 1,
            or 1/sqrt 2.
        dropout: the rate, inside the residual blocks.
        num_groups: groups of the norms, fewer where the width asks for it; `eps` is theirs.
        waves: the features of the time, `SinCos(...)` or `Fourier(...)`.
        embedding_features: width of the embedding, four times that of the waves; None for
            `4 * channels[0]`.
        inputs: the conditions; the transformers attend to the text.
        out_channels: None for those of the input.
        dtype: of the compute and of the output.
    """

    channels: Sequence[int] = (128, 256, 256, 256)
    layers_per_block: int = 2
    attention_at: Sequence[int] = ()
    transformer_depth: Sequence[int] | None = None
    middle_depth: int | None = None
    num_heads: int | Sequence[int] = 1
    head_channels: int | Sequence[int] | None = None
    middle_attention: bool = True
    scale_shift: bool = False
    resample_in_block: bool = False
    downsample_padding: Sequence[int] = (1, 1)
    skip_scale: float = 1.0
    dropout: float = 0.0
    num_groups: int = 32
    eps: float = 1e-5
    waves: nn.Module = SinCos()
    embedding_features: int | None = None
    inputs: Inputs = Inputs()
    out_channels: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        time: Float[Array, " b"],
        cond: Cond,
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b h w out"]:
        """Returns an image of `out_channels`; without `dropout_keys` there is no dropout.

        Raises:
            ValueError: the image size, `attention_at`, `transformer_depth` or the heads do not
                suit `channels`; a condition has another shape than it should, or is missing.
        """
        last = len(self.channels) - 1
        depths = self.transformer_depth or (0,) * len(self.channels)
        middle_depth = depths[-1] if self.middle_depth is None else self.middle_depth
        self._check(level_sizes(x.shape[1:3], len(self.channels)), depths, middle_depth)
        features = self.embedding_features or 4 * self.channels[0]
        embed_time = TimeEmbedding(features, features // 4, self.waves, self.dtype, name="time")
        embedding = embed(self.inputs, embed_time, time, cond)
        text, text_mask = read_text(self.inputs, cond, len(x), self.dtype)

        def residual(h: Array, features: int, name: str, resample: str | None = None) -> Array:
            block = ResidualBlock(
                features, resample, self.scale_shift, self.dropout, self.skip_scale,
                self.num_groups, self.eps, self.dtype, name=f"{name}_residual",
            )  # fmt: skip
            return block(h, embedding, dropout_keys)

        def attend(h: Array, level: int, depth: int, name: str) -> Array:
            heads = _at(self.num_heads, level), _at(self.head_channels, level)
            if depth:
                transformer = SpatialTransformer(
                    depth, *heads, self.num_groups, self.dtype, name=f"{name}_transformer"
                )
                return transformer(h, text, text_mask)
            attention = SelfAttention(
                *heads, self.num_groups, self.eps, self.skip_scale, self.dtype,
                name=f"{name}_attention",
            )  # fmt: skip
            return attention(h)

        def layer(h: Array, level: int, name: str) -> Array:
            h = residual(h, self.channels[level], name)
            if depths[level] or h.shape[1] in self.attention_at:
                return attend(h, level, depths[level], name)
            return h

        def down(h: Array, name: str) -> Array:
            if self.resample_in_block:
                return residual(h, h.shape[-1], name, "down")
            return Downsample(self.downsample_padding, self.dtype, name=name)(h)

        def up(h: Array, name: str) -> Array:
            if self.resample_in_block:
                return residual(h, h.shape[-1], name, "up")
            return Upsample(self.dtype, name=name)(h)

        h = Conv(self.channels[0], dtype=self.dtype, name="conv_in")(
            with_maps(self.inputs, x, cond, self.dtype)
        )
        skips = [h]
        for level in range(last + 1):
            for i in range(self.layers_per_block):
                h = layer(h, level, f"down_{level}_{i}")
                skips.append(h)
            if level < last:
                h = down(h, f"down_{level}")
                skips.append(h)

        h = residual(h, h.shape[-1], "middle_0")
        if self.middle_attention:
            h = attend(h, last, middle_depth, "middle")
        h = residual(h, h.shape[-1], "middle_1")

        for level in range(last, -1, -1):
            for i in range(self.layers_per_block + 1):
                h = layer(jnp.concatenate([h, skips.pop()], axis=-1), level, f"up_{level}_{i}")
            if level > 0:
                h = up(h, f"up_{level}")

        h = nn.silu(GroupNorm(self.num_groups, self.eps, self.dtype, name="norm_out")(h))
        out = self.out_channels or x.shape[-1]
        return Conv(out, kernel_init=zero_init, dtype=self.dtype, name="conv_out")(h)

    def _check(self, sizes: list[tuple[int, int]], depths: Sequence[int], middle: int) -> None:
        heights = [height for height, _ in sizes]
        for option in ("transformer_depth", "num_heads", "head_channels"):
            value = getattr(self, option)
            if isinstance(value, Sequence) and len(value) != len(sizes):
                raise ValueError(
                    f"{option}={tuple(value)} has not one for each of {len(sizes)} levels"
                )
        for size in self.attention_at:
            if size not in heights:
                raise ValueError(f"attention_at has {size}, but the levels have heights {heights}")
            if depths[heights.index(size)]:
                raise ValueError(
                    f"attention_at has {size}, but transformer_depth={tuple(depths)} puts"
                    " transformers there; leave one of them out"
                )
        text = self.inputs.text_features
        if text is not None and not any((*depths, self.middle_attention and middle)):
            raise ValueError(
                f"inputs.text_features={text}, but no transformer attends to the text: set"
                " transformer_depth"
            )


def _at(option: Any, level: int) -> Any:
    """Returns a level's own of an option that is one for all levels, or one for each."""
    return option[level] if isinstance(option, Sequence) else option


def level_sizes(size: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """Returns the (height, width) of each level.

    Raises:
        ValueError: the size cannot be halved often enough; names the nearest that can.
    """
    factor = 2 ** (levels - 1)
    if any(n < 1 or n % factor for n in size):
        below = [max(n // factor, 1) * factor for n in size]
        above = [-(-n // factor) * factor for n in size]
        raise ValueError(
            f"image size {size[0]}x{size[1]}: {levels} levels need a multiple of {factor};"
            f" the nearest are {below[0]}x{below[1]} and {above[0]}x{above[1]}"
        )
    return [(size[0] >> level, size[1] >> level) for level in range(levels)]
