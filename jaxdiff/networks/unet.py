"""The U-Net of the DDPM, ADM and Stable Diffusion family."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Key

from jaxdiff.networks.attention import SelfAttention, num_heads
from jaxdiff.networks.blocks import ResidualBlock
from jaxdiff.networks.conditioning import embed, read_image, read_text, with_maps
from jaxdiff.networks.dit.stack import Remat, recomputed
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import Conv, GroupNorm, zero_init
from jaxdiff.networks.resampling import Downsample, Upsample, level_sizes
from jaxdiff.networks.residuals import Residuals, sums
from jaxdiff.networks.temporal import NAME, TemporalLayer, by_frame
from jaxdiff.networks.times import SinCos, time_embedding
from jaxdiff.networks.transformer import SpatialTransformer
from jaxdiff.options import Between, Depth, Filled, FloatType, PositiveFloat, Range, Width, checked
from jaxdiff.typing import Cond


class _BlockInputs(NamedTuple):
    """The inputs of all blocks beside the image: embedding, text, image prompt, dropout keys.

    `frames` of a clip; they are examples of the batch, one clip after another.
    """

    vector: Array
    text: Array | None
    text_mask: Array | None
    image: Array | None
    dropout_keys: Array | None
    frames: int = 1


@checked
class UNet(nn.Module):
    """Residual blocks down to small images and up again, with skip connections.

    The order of the blocks is that of Ho et al. (2020); the options give the variants of Song et
    al. (2021, DDPM++), Dhariwal & Nichol (2021, ADM) and Rombach et al. (2022, without text).

    Attributes:
        channels: the width of each level, from the full image size down.
        layers_per_block: residual blocks of a level on the way down; one more on the way up.
        attention_at: image heights at which each residual block is followed by self-attention.
        transformer_depth: for each level, the number of transformer blocks that replace the
            self-attention after each residual block; None for no transformers.
        middle_depth: number of transformer blocks in the middle; None for that of the last level.
        num_heads: heads of the attention; `head_channels`, the width of a head, overrules it.
            Either has one value for all levels, or one for each.
        middle_attention: whether the middle, two residual blocks at the smallest size, has
            attention between them.
        scale_shift: FiLM (scale-shift) by the embedding instead of adding it.
        resample_in_block: whether residual blocks change the size instead of separate convolutions.
        downsample_padding: zeros (before, after) for a convolution that halves the size.
        skip_scale: factor of each sum of a branch and its input: 1, or 1/sqrt 2.
        dropout: the rate, inside the residual blocks.
        num_groups: groups of the norms, reduced if it does not divide the width; `eps`: epsilon of
            the norms.
        time_sinusoids: sines and cosines of the time, `SinCos(...)` or `Fourier(...)`.
        embedding_features: width of the embedding, four times that of the sinusoids; None for
            `4 * channels[0]`.
        inputs: the conditions; the transformers attend to the text.
        remat: policy of `jax.checkpoint_policies` for the values that the gradient saves of a
            residual block or a transformer; None for all.
        unroll: number of blocks that the scan over a transformer's blocks compiles at a time; None
            for no scan. The parameters have the same names with it and without.
        temporal: whether it is of clips [b, f, h, w, c]: after each level's layers, and in the
            middle, a layer across frames. These change nothing at first, and weights of the same
            network of images load into it; an image is a clip of one frame.
        out_channels: None for those of the input.
        dtype: of the computation and of the output.
    """

    channels: Annotated[Sequence[Width], Filled()] = (128, 256, 256, 256)
    layers_per_block: Depth = 2
    attention_at: Sequence[Width] = ()
    transformer_depth: Sequence[Annotated[int, Between(0, 1000)]] | None = None
    middle_depth: Annotated[int, Between(0, 1000)] | None = None
    num_heads: Depth | Sequence[Depth] = 1
    head_channels: Width | Sequence[Width] | None = None
    middle_attention: bool = True
    scale_shift: bool = False
    resample_in_block: bool = False
    downsample_padding: Annotated[Sequence[Annotated[int, Between(0, 1)]], Filled(2)] = (1, 1)
    skip_scale: PositiveFloat = 1.0
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.0
    num_groups: Width = 32
    eps: PositiveFloat = 1e-5
    time_sinusoids: nn.Module = SinCos()
    embedding_features: Width | None = None
    inputs: Inputs = Inputs()
    remat: Remat | None = None
    unroll: Depth | None = None
    temporal: bool = False
    out_channels: Width | None = None
    dtype: FloatType = jnp.float32
    feature_layers = ("middle_1_residual",)
    """The layers that discriminators read by default: the smallest images."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *frames h w c"],
        time: Float[Array, " b"],
        cond: Cond,
        dropout_keys: Key[Array, " b"] | None = None,
        residuals: Residuals | None = None,
    ) -> Float[Array, "b *frames h w out"]:
        """Returns an image or a clip of `out_channels`; without `dropout_keys` without dropout.

        `residuals`, such as those of a ControlNet, are added to the encoder's output.

        Raises:
            ValueError: the image size, `attention_at`, `transformer_depth` or the heads do not
                suit `channels`; a condition or a residual has the wrong shape, or is missing; a
                clip is given to a network of images, or maps to one of clips.
        """
        inputs = self._block_inputs(time, cond, dropout_keys)
        if x.ndim == 5:
            return self._of_clip(x, inputs, cond)
        levels = () if residuals is None else residuals.levels
        x_in = with_maps(self.inputs, x, cond, self.dtype)
        encoded = self._encode(x_in, inputs, levels=levels)
        if residuals is not None:
            encoded = encoded.plus(residuals)
        return self._decode(encoded, inputs, self.out_channels or x.shape[-1])

    def _of_clip(self, x: Array, inputs: _BlockInputs, cond: Cond) -> Array:
        """Returns the output for a clip, whose frames are examples to all other layers."""
        if not self.temporal:
            raise ValueError(f"x has shape {x.shape}, a clip's: set temporal=True")
        if self.inputs.maps:
            raise ValueError("inputs.maps: of images only, and x is a clip")
        frames, keys = x.shape[1], inputs.dropout_keys
        inputs = _BlockInputs(*by_frame(inputs[:4], frames), None, frames)
        if keys is not None:
            each = jax.vmap(lambda key: jax.random.split(key, frames))(keys)
            inputs = inputs._replace(dropout_keys=each.reshape(-1))
        encoded = self._encode(rearrange(x, "b f h w c -> (b f) h w c").astype(self.dtype), inputs)
        out = self._decode(encoded, inputs, self.out_channels or x.shape[-1])
        return rearrange(out, "(b f) h w c -> b f h w c", f=frames)

    def _block_inputs(self, time: Array, cond: Cond, dropout_keys: Array | None) -> _BlockInputs:
        features = self.embedding_features or 4 * self.channels[0]
        embed_time = time_embedding(self, self.time_sinusoids, features, features // 4)
        vector = embed(self.inputs, embed_time, time, cond)
        text, text_mask = read_text(self.inputs, cond, len(time), self.dtype)
        image = read_image(self.inputs, cond, len(time), self.dtype)
        return _BlockInputs(vector, text, text_mask, image, dropout_keys)

    def _encode(
        self,
        x: Array,
        inputs: _BlockInputs,
        hint: Array | None = None,
        levels: Sequence[Array] = (),
    ) -> Residuals:
        """Returns the features at the smallest size after the middle blocks, and the skips.

        A `hint` is added to the features of the first convolution, `levels` at the end of each
        level: before the size is halved where the level attends to text, after it elsewhere.
        """
        waiting = list(levels)
        add = lambda h: sums([h], [waiting.pop(0)])[0] if waiting else h
        self._check(level_sizes(x.shape[1:3], len(self.channels)))
        h = Conv(self.channels[0], dtype=self.dtype, name="conv_in")(x)
        h = h if hint is None else h + hint
        skips = [h]
        for level in range(len(self.channels)):
            for i in range(self.layers_per_block):
                h = self._layer(h, level, f"down_{level}_{i}", inputs)
                skips.append(h)
            if self._depths[level]:
                skips[-1] = h = add(h)
            if level < len(self.channels) - 1:
                h = self._resample(h, "down", f"down_{level}", inputs)
                skips.append(h)
            if not self._depths[level]:
                skips[-1] = h = add(h)

        h = self._residual(h, h.shape[-1], "middle_0", inputs)
        if self.middle_attention:
            h = self._attend(h, len(self.channels) - 1, self._middle_depth, "middle", inputs)
        h = self._residual(h, h.shape[-1], "middle_1", inputs)
        h = self._across_frames(h, len(self.channels) - 1, "middle", inputs)
        return Residuals(add(h), tuple(skips))

    def _decode(self, encoded: Residuals, inputs: _BlockInputs, out_channels: int) -> Array:
        h, skips = encoded.middle, list(encoded.skips)
        for level in reversed(range(len(self.channels))):
            for i in range(self.layers_per_block + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self._layer(h, level, f"up_{level}_{i}", inputs)
            if level > 0:
                h = self._resample(h, "up", f"up_{level}", inputs)
        h = nn.silu(GroupNorm(self.num_groups, self.eps, self.dtype, name="norm_out")(h))
        return Conv(out_channels, kernel_init=zero_init, dtype=self.dtype, name="conv_out")(h)

    @property
    def _depths(self) -> Sequence[int]:
        return self.transformer_depth or (0,) * len(self.channels)

    @property
    def _middle_depth(self) -> int:
        return self._depths[-1] if self.middle_depth is None else self.middle_depth

    def _layer(self, h: Array, level: int, name: str, inputs: _BlockInputs) -> Array:
        h = self._residual(h, self.channels[level], name, inputs)
        if self._depths[level] or h.shape[1] in self.attention_at:
            h = self._attend(h, level, self._depths[level], name, inputs)
        return self._across_frames(h, level, name, inputs)

    def _across_frames(self, h: Array, level: int, name: str, inputs: _BlockInputs) -> Array:
        if not self.temporal:
            return h
        heads = num_heads(h.shape[-1], _at(self.num_heads, level), _at(self.head_channels, level))
        layer = recomputed(TemporalLayer, self.remat)(
            inputs.frames, heads, self.dtype, name=f"{NAME}{name}"
        )
        return layer(h)

    def _residual(
        self, h: Array, features: int, name: str, inputs: _BlockInputs, resample: str | None = None
    ) -> Array:
        block = recomputed(ResidualBlock, self.remat)(
            features, resample, self.scale_shift, self.dropout, self.skip_scale,
            self.num_groups, self.eps, self.dtype, name=f"{name}_residual",
        )  # fmt: skip
        return block(h, inputs.vector, inputs.dropout_keys)

    def _attend(self, h: Array, level: int, depth: int, name: str, inputs: _BlockInputs) -> Array:
        heads = _at(self.num_heads, level), _at(self.head_channels, level)
        if depth:
            transformer = recomputed(SpatialTransformer, self.remat)(
                depth, *heads, self.num_groups, self.unroll, self.dtype, name=f"{name}_transformer"
            )
            return transformer(h, inputs.text, inputs.text_mask, inputs.image)
        attention = SelfAttention(
            *heads, self.num_groups, self.eps, self.skip_scale, self.dtype,
            name=f"{name}_attention",
        )  # fmt: skip
        return attention(h)

    def _resample(self, h: Array, direction: str, name: str, inputs: _BlockInputs) -> Array:
        if self.resample_in_block:
            return self._residual(h, h.shape[-1], name, inputs, direction)
        if direction == "down":
            return Downsample(self.downsample_padding, self.dtype, name=name)(h)
        return Upsample(self.dtype, name=name)(h)

    def _check(self, sizes: list[tuple[int, int]]) -> None:
        heights, depths = [height for height, _ in sizes], self._depths
        for option in ("transformer_depth", "num_heads", "head_channels"):
            value = getattr(self, option)
            if isinstance(value, Sequence) and len(value) != len(sizes):
                raise ValueError(
                    f"{option}={tuple(value)} must have one value for each of {len(sizes)} levels"
                )
        for size in self.attention_at:
            if size not in heights:
                raise ValueError(f"attention_at has {size}, but the levels have heights {heights}")
            if depths[heights.index(size)]:
                raise ValueError(
                    f"attention_at has {size}, but transformer_depth={tuple(depths)} puts"
                    " transformers there; leave one of them out"
                )
        text, middle = self.inputs.text_features, self.middle_attention and self._middle_depth
        if text is not None and not any((*depths, middle)):
            raise ValueError(
                f"inputs.text_features={text}, but no transformer attends to the text: set"
                " transformer_depth"
            )


def _at(option: Any, level: int) -> Any:
    """Returns a level's value of an option that has one for all levels, or one for each."""
    return option[level] if isinstance(option, Sequence) else option
