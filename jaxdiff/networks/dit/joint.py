"""The transformer of two streams, image and text, that attend to both (Esser et al., 2024)."""

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from jaxdiff.networks.attention import Attention, MultiHead, attend, num_heads
from jaxdiff.networks.conditioning import embed, read_text, with_maps
from jaxdiff.networks.dit.blocks import BlockInputs, Modulation, add_branch, modulate
from jaxdiff.networks.dit.ends import as_clip, to_output, to_tokens
from jaxdiff.networks.dit.patches import from_patches, patch_size, to_patches
from jaxdiff.networks.dit.positions import CentredGrid, Grid, Positions, SinCosPositions
from jaxdiff.networks.dit.stack import Remat, stacked
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import Dense, FeedForward
from jaxdiff.networks.times import SinCos, time_embedding
from jaxdiff.options import (
    Between,
    Depth,
    Filled,
    FloatType,
    PositiveFloat,
    Range,
    Width,
    checked,
)
from jaxdiff.typing import Cond

Streams = tuple[Float[Array, "b n c"], Float[Array, "b m c"]]


class JointBlock(nn.Module):
    """Attention among image and text tokens together, and a feed-forward part for each stream.

    Each stream has weights of its own.

    Attributes:
        num_heads, hidden, qk_norm, dropout: as in `Block`.
        last: whether the text is attended to, but not changed.
        dual: whether the image's tokens also attend to themselves alone (Stable Diffusion 3.5).
    """

    num_heads: int
    hidden: int
    qk_norm: str | None = None
    dropout: float = 0.0
    last: bool = False
    dual: bool = False
    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, streams: Streams, layer: Integer[Array, ""], inputs: BlockInputs
    ) -> tuple[Streams, None]:
        """Returns both streams, and None as the second output that a scan over layers needs."""
        x, text = streams
        keys = inputs.keys_of(layer)
        heads = MultiHead(self.num_heads, qk_norm=self.qk_norm, dtype=self.dtype)
        modulated = functools.partial(modulate, eps=self.eps, dtype=self.dtype)
        modulation = lambda parts, name: Modulation(parts, self.dtype, name=name)(inputs.vector)

        def add(name: str, x: Array, gate: Array, mixed: Array) -> Array:
            out = heads.merge(f"{name}out", mixed, x.shape[-1])
            return add_branch(f"{name}self", x, gate, out, self.dropout, keys)

        def feed_forward(name: str, x: Array, shift: Array, scale: Array, gate: Array) -> Array:
            mlp = FeedForward(self.hidden, dtype=self.dtype, name=f"{name}mlp")
            h = mlp(modulated(x, shift, scale))
            return add_branch(f"{name}mlp", x, gate, h, self.dropout, keys)

        shift, scale, gate, *rest = modulation(9 if self.dual else 6, "modulation")
        mlp, alone = rest[:3], rest[3:]
        text_shift, text_scale, *text_rest = modulation(2 if self.last else 6, "text_modulation")
        h, text_h = modulated(x, shift, scale), modulated(text, text_shift, text_scale)
        mixed, text_mixed = _attend_jointly(heads, h, text_h, inputs)
        before, x = x, add("", x, gate, mixed)
        if self.dual:
            shift, scale, gate = alone
            attention = Attention(heads, name="dual")
            h = attention(modulated(before, shift, scale), rotation=inputs.rotation)
            x = add_branch("dual", x, gate, h, self.dropout, keys)
        x = feed_forward("", x, *mlp)
        if self.last:
            return (x, text), None
        text_gate, *text_mlp = text_rest
        text = feed_forward("text_", add("text_", text, text_gate, text_mixed), *text_mlp)
        x = x if inputs.residuals is None else x + inputs.residuals[:, layer]
        return (x, text), None


def _attend_jointly(
    heads: MultiHead, h: Float[Array, "b n c"], text: Float[Array, "b m c"], inputs: BlockInputs
) -> tuple[Float[Array, "b n heads d"], Float[Array, "b m heads d"]]:
    """Attends from both streams to both; only the image's queries and keys are rotated."""
    n, c = h.shape[1:]

    def both(name: str, rotation: Array | None = None) -> Array:
        parts = heads.project(name, h, c, rotation), heads.project(f"text_{name}", text, c)
        return jnp.concatenate(parts, axis=1)

    mask = inputs.text_mask
    if mask is not None:
        mask = jnp.pad(mask, ((0, 0), (0, 0), (n, 0)), constant_values=True)[:, None]
    query, key = both("query", inputs.rotation), both("key", inputs.rotation)
    mixed = attend(query, key, both("value"), mask=mask)
    return mixed[:, :n], mixed[:, n:]


@checked
class MMDiT(nn.Module):
    """A transformer with joint attention to patches of an image or a clip and to tokens of a text.

    Attributes:
        inputs: the conditions, with a text.
        dual_depth: number of the first blocks whose image tokens attend to themselves alone as
            well; less than `depth`.
        features, depth, num_heads, mlp_features, patch, positions, qk_norm, dropout,
            time_sinusoids, time_features, remat, unroll, out_channels, dtype: as in `DiT`.
    """

    features: Width = 1536
    depth: Depth = 24
    num_heads: Depth = 24
    dual_depth: Annotated[int, Between(0, 1000)] = 0
    mlp_features: Width | None = None
    patch: Annotated[Sequence[Width], Filled()] = (1, 2, 2)
    positions: Positions = SinCosPositions(CentredGrid(extent=64.0, most=192))
    qk_norm: Literal["head", "all"] | None = None
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.0
    time_sinusoids: nn.Module = SinCos()
    time_features: Width = 256
    inputs: Inputs = Inputs(text_features=4096)
    remat: Remat | None = None
    unroll: Depth = 1
    out_channels: Width | None = None
    eps: PositiveFloat = 1e-6
    dtype: FloatType = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *space c"],
        time: Float[Array, " b"],
        cond: Cond,
        dropout_keys: Key[Array, " b"] | None = None,
        residuals: Float[Array, "b layers n d"] | None = None,
    ) -> Float[Array, "b *space out"]:
        """Returns an image or a clip of `out_channels`; without `dropout_keys` there is no dropout.

        `residuals`, such as those of a `ControlMMDiT`, are added to the image's tokens after the
        blocks: the first to the first blocks, and so on, each to as many; none after the last.

        Raises:
            ValueError: the size is not made of patches; the heads do not divide the width; a
                condition has the wrong shape, or is missing.
        """
        if self.depth < 2:
            raise ValueError(f"depth={self.depth} must be at least 2: the last block ends the text")
        if self.dual_depth >= self.depth:
            raise ValueError(f"dual_depth={self.dual_depth} must be less than depth={self.depth}")
        streams, grid, block_inputs = self._enter(x, time, cond, dropout_keys)
        if residuals is not None:
            of_layer = np.arange(self.depth) * residuals.shape[1] // self.depth
            block_inputs = block_inputs._replace(residuals=residuals[:, of_layer])
        first = 0
        for name, depth in self._rows(self.depth - 1).items():
            blocks = stacked(JointBlock, depth, self.remat, self.unroll, first=first)
            row = blocks(**self._options(), dual=name == "dual_blocks", name=name)
            streams, first = row(streams, block_inputs), first + depth
        ending = JointBlock(**self._options(), last=True, name="last_block")
        (h, _), _ = ending(streams, jnp.asarray(self.depth - 1), block_inputs)  # [b n d]
        parts = Modulation(2, self.dtype, name="modulation")(block_inputs.vector)
        width = (self.out_channels or x.shape[-1]) * patch_size(self.patch)
        out = to_output(h, parts, width, self.eps, self.dtype)  # [b n p2]
        clip = from_patches(out, grid, self.patch)  # [b f h w out]
        return clip[:, 0] if x.ndim == 4 else clip

    def _enter(
        self, x: Array, time: Array, cond: Cond, dropout_keys: Array | None
    ) -> tuple[Streams, Grid, BlockInputs]:
        """Returns the tokens of image and text, the patches along each axis, the blocks' inputs."""
        heads = num_heads(self.features, self.num_heads, None)
        if self.inputs.text_features is None:
            raise ValueError(
                f"{type(self).__name__} needs inputs.text_features, the width of the text's tokens"
            )
        clip = as_clip(with_maps(self.inputs, x, cond, self.dtype))  # [b f h w c]
        patches, grid = to_patches(clip, self.patch)  # [b n p]
        places = jnp.asarray(self.positions.places(grid))[None]  # [1 n 3]
        h = to_tokens(patches, places, self.positions, self.features, self.dtype)  # [b n d]
        text, text_mask = read_text(self.inputs, cond, len(x), self.dtype)
        text = Dense(self.features, dtype=self.dtype, name="text_in")(text)  # [b m d]
        embed_time = time_embedding(self, self.time_sinusoids, self.features, self.time_features)
        vector = embed(self.inputs, embed_time, time, cond)[:, None]  # [b 1 d]
        block_inputs = BlockInputs(
            vector,
            rotation=self.positions.rotation(places, self.features // heads),
            text_mask=None if text_mask is None else text_mask[:, None],
            dropout_keys=dropout_keys,
        )
        return (h, text), grid, block_inputs

    def _rows(self, depth: int) -> dict[str, int]:
        """Returns the number of blocks of each row among the first `depth`, by the row's name."""
        dual = min(self.dual_depth, depth)
        rows = {"dual_blocks": dual, "blocks": depth - dual}
        return {name: count for name, count in rows.items() if count}

    def _options(self) -> dict[str, Any]:
        """Returns the attributes of a block."""
        return {
            "num_heads": num_heads(self.features, self.num_heads, None),
            "hidden": self.mlp_features or 4 * self.features,
            "qk_norm": self.qk_norm,
            "dropout": self.dropout,
            "eps": self.eps,
            "dtype": self.dtype,
        }
