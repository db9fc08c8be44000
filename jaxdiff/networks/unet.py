"""The U-Net of the DDPM, ADM and Stable Diffusion family."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxdiff.networks import conditioning
from jaxdiff.networks.attention import SelfAttention
from jaxdiff.networks.layers import (
    Conv,
    Dense,
    Downsample,
    Dropout,
    GroupNorm,
    SinCos,
    TimeEmbedding,
    Upsample,
    average_pool,
    nearest,
    zero_init,
)
from jaxdiff.typing import Cond


class ResidualBlock(nn.Module):
    """GroupNorm-SiLU-convolution twice, with the embedding between them, added to the input.

    `resample` ("down", "up" or None) halves or doubles height and width after the first SiLU, and
    in the shortcut. With `scale_shift` the embedding scales and shifts the second norm's output
    (Dhariwal & Nichol, 2021); otherwise it is added before that norm (Ho et al., 2020).
    """

    features: int
    resample: str | None = None
    scale_shift: bool = False
    dropout: float = 0.0
    skip_scale: float = 1.0
    num_groups: int = 32
    eps: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        embedding: Float[Array, "b d"] | None = None,
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b h2 w2 f"]:
        """Returns `(shortcut(x) + branch) · skip_scale`; without an embedding it has no part."""
        norm = lambda name: GroupNorm(self.num_groups, self.eps, self.dtype, name=name)
        resample = {None: lambda x: x, "down": average_pool, "up": nearest}[self.resample]

        h = resample(nn.silu(norm("norm_in")(x)))
        h = Conv(self.features, dtype=self.dtype, name="conv_in")(h)
        if embedding is None:
            h = norm("norm_out")(h)
        else:
            h = self._embedded(h, embedding, norm("norm_out"))
        h = Dropout(self.dropout, name="dropout")(nn.silu(h), dropout_keys)
        h = Conv(self.features, kernel_init=zero_init, dtype=self.dtype, name="conv_out")(h)

        x = resample(x)
        if x.shape[-1] != self.features:
            x = Conv(self.features, size=1, dtype=self.dtype, name="shortcut")(x)
        return (x + h) * self.skip_scale

    def _embedded(self, h: Array, embedding: Array, norm: GroupNorm) -> Array:
        width = self.features * (2 if self.scale_shift else 1)
        change = Dense(width, dtype=self.dtype, name="embedding")(nn.silu(embedding))
        change = change[:, None, None, :]
        if self.scale_shift:
            scale, shift = jnp.split(change, 2, axis=-1)
            return norm(h) * (1 + scale) + shift
        return norm(h + change)


class UNet(nn.Module):
    """Residual blocks down to small images and up again, with skip connections in between.

    The order of the blocks is that of Ho et al. (2020); the options give the variants of Song et
    al. (2021, DDPM++), Dhariwal & Nichol (2021, ADM) and Rombach et al. (2022, without text).

    Attributes:
        channels: the width of each level, from the full image size down.
        layers_per_block: residual blocks of a level on the way down; one more on the way up.
        attention_at: image heights at which each residual block is followed by self-attention.
        num_heads: heads of the attention; `head_channels`, the width of one, overrules it.
        middle_attention: whether attention stands between the two blocks at the smallest size.
        scale_shift: whether the embedding scales and shifts a norm's output, or is added.
        resample_in_block: whether residual blocks change the size, or convolutions of their own.
        downsample_padding: zeros (before, after) for a convolution that halves the size.
        skip_scale: factor on each sum of a block and its input: 1, or 1/sqrt 2.
        dropout: the rate, inside the residual blocks.
        num_groups: groups of the norms, fewer where the width asks for it; `eps` is theirs.
        waves: the features of the time, `SinCos(...)` or `Fourier(...)`.
        embedding_features: width of the embedding, four times that of the waves; None for
            `4 * channels[0]`.
        num_classes: makes the network class-conditional, by cond["label"].
        vectors: name and width of each vector in `cond`.
        times: names of further times in `cond`, on the scale of the first.
        out_channels: None for those of the input.
        dtype: of the compute and of the output.
    """

    channels: Sequence[int] = (128, 256, 256, 256)
    layers_per_block: int = 2
    attention_at: Sequence[int] = ()
    num_heads: int = 1
    head_channels: int | None = None
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
    num_classes: int | None = None
    vectors: Mapping[str, int] | None = None
    times: Sequence[str] = ()
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
            ValueError: the image size, `attention_at` or the heads do not suit `channels`.
        """
        sizes = level_sizes(x.shape[1:3], len(self.channels))
        self._check_attention(sizes)
        embedding = self._embed(time, cond)

        def residual(h: Array, features: int, name: str, resample: str | None = None) -> Array:
            block = ResidualBlock(
                features, resample, self.scale_shift, self.dropout, self.skip_scale,
                self.num_groups, self.eps, self.dtype, name=f"{name}_residual",
            )  # fmt: skip
            return block(h, embedding, dropout_keys)

        def attend(h: Array, name: str) -> Array:
            # Attention to cond["text"] belongs here as well, after the self-attention.
            attention = SelfAttention(
                self.num_heads, self.head_channels, self.num_groups, self.eps,
                self.skip_scale, self.dtype, name=f"{name}_attention",
            )  # fmt: skip
            return attention(h)

        def layer(h: Array, features: int, name: str) -> Array:
            h = residual(h, features, name)
            return attend(h, name) if h.shape[1] in self.attention_at else h

        def down(h: Array, name: str) -> Array:
            if self.resample_in_block:
                return residual(h, h.shape[-1], name, "down")
            return Downsample(self.downsample_padding, self.dtype, name=name)(h)

        def up(h: Array, name: str) -> Array:
            if self.resample_in_block:
                return residual(h, h.shape[-1], name, "up")
            return Upsample(self.dtype, name=name)(h)

        last = len(self.channels) - 1
        h = Conv(self.channels[0], dtype=self.dtype, name="conv_in")(x)
        skips = [h]
        for level, features in enumerate(self.channels):
            for i in range(self.layers_per_block):
                h = layer(h, features, f"down_{level}_{i}")
                skips.append(h)
            if level < last:
                h = down(h, f"down_{level}")
                skips.append(h)

        h = residual(h, h.shape[-1], "middle_0")
        if self.middle_attention:
            h = attend(h, "middle")
        h = residual(h, h.shape[-1], "middle_1")

        for level, features in reversed(list(enumerate(self.channels))):
            for i in range(self.layers_per_block + 1):
                h = layer(jnp.concatenate([h, skips.pop()], axis=-1), features, f"up_{level}_{i}")
            if level > 0:
                h = up(h, f"up_{level}")

        h = nn.silu(GroupNorm(self.num_groups, self.eps, self.dtype, name="norm_out")(h))
        out = self.out_channels or x.shape[-1]
        return Conv(out, kernel_init=zero_init, dtype=self.dtype, name="conv_out")(h)

    def _embed(self, time: Array, cond: Cond) -> Array:
        """Returns what every residual block is told: the time and the conditions."""
        features = self.embedding_features or 4 * self.channels[0]
        embed = TimeEmbedding(features, features // 4, self.waves, self.dtype, name="time")
        fields = conditioning.fields(self.num_classes, self.vectors, tuple(self.times))
        if not fields:
            return embed(time)
        conditions = conditioning.ConditionEmbedding(fields, features, self.dtype, name="cond")
        return embed(time) + conditions(cond, time.shape[0])

    def _check_attention(self, sizes: list[tuple[int, int]]) -> None:
        heights = [height for height, _ in sizes]
        for size in self.attention_at:
            if size not in heights:
                raise ValueError(f"attention_at has {size}, but the levels have heights {heights}")


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
