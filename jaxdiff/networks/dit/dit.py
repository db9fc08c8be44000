"""The diffusion transformer over patches in space and time (Peebles & Xie, 2023)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Key

from jaxdiff.networks.attention import num_heads
from jaxdiff.networks.conditioning import embed, read_text, with_maps
from jaxdiff.networks.dit.blocks import Block, BlockInputs, Modulation, modulate
from jaxdiff.networks.dit.packing import Packed, same_segment
from jaxdiff.networks.dit.patches import from_patches, patch_size, to_patches
from jaxdiff.networks.dit.positions import Positions, SinCosPositions
from jaxdiff.networks.dit.stack import stacked
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import Dense, SinCos, time_embedding, zero_init
from jaxdiff.typing import Cond

token_init = nn.initializers.normal(0.02)


class DiT(nn.Module):
    """Transformer blocks over the patches of an image [b, h, w, c] or a clip [b, f, h, w, c].

    The options give DiT and SiT (Ma et al., 2024), with text PixArt-alpha (Chen et al., 2023) and
    the video transformer of Wan (2025), and factored attention as in Latte (Ma et al., 2024).

    Attributes:
        features: the width; `depth` and `num_heads` are those of the blocks.
        mlp_features: width of the perceptrons' hidden layer; None for `4 * features`.
        patch: frames, height and width of a patch.
        positions: `SinCosPositions(...)` or `Rotary(...)`.
        factored: whether tokens attend within their frame and then across frames, or to all. The
            parts across frames change nothing at first: weights of images load into a network of
            clips.
        shared_modulation: whether one linear map serves all blocks, each adding a table.
        qk_norm: None, "head" or "all", as in `Attention`.
        registers: learned tokens that take part and are left out at the end (Darcet et al., 2024).
        dropout: the rate, on what attention and perceptrons add.
        time_sinusoids: sines and cosines of the time; `time_features`, how many.
        inputs: the conditions; every block attends to the text, after an MLP. Packed rows have no
            maps.
        text_norm: whether a norm precedes the attention to the text.
        remat: what the gradient saves of a block, a policy of `jax.checkpoint_policies`; None for
            everything.
        unroll: how many blocks the scan over them compiles at a time.
        out_channels: None for those of the input; twice as many for a learned variance.
        dtype: of the compute and of the output.
    """

    features: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_features: int | None = None
    patch: Sequence[int] = (1, 2, 2)
    positions: Positions = SinCosPositions()
    factored: bool = False
    shared_modulation: bool = False
    qk_norm: str | None = None
    registers: int = 0
    dropout: float = 0.0
    time_sinusoids: nn.Module = SinCos()
    time_features: int = 256
    inputs: Inputs = Inputs()
    text_norm: bool = False
    remat: str | None = None
    unroll: int = 1
    out_channels: int | None = None
    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *space c"] | Packed,
        time: Float[Array, "b *f"],
        cond: Cond,
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b *space out"]:
        """Returns an image or a clip of `out_channels`; without `dropout_keys` there is no dropout.

        A time [b, f] is each frame's own, where a patch is one frame long. Of a `Packed` row, whose
        segments have times [b, s] and conditions [b, s, ...], patches [b, n, p] come out.

        Raises:
            ValueError: the size is not made of patches; an option does not suit another; a
                condition has another shape than it should, or is missing.
        """
        self._check()
        if isinstance(x, Packed):
            return self._packed(x, time, cond, dropout_keys)
        image = x.ndim == 4
        whole = with_maps(self.inputs, x, cond, self.dtype)
        patches, grid = to_patches(whole[:, None] if image else whole, self.patch)
        owner = self._frame_of_each(time, grid) if time.ndim == 2 else None
        vector = self._vector(time, cond)
        text, text_mask = self._text(cond, len(x))
        block_inputs = BlockInputs(
            vector,
            self._shared(vector),
            owner,
            text=text,
            text_mask=None if text_mask is None else text_mask[:, None],
            dropout_keys=dropout_keys,
        )
        places = jnp.asarray(self.positions.places(grid))[None]
        channels, frames = self.out_channels or x.shape[-1], grid[0] if self.factored else None
        out = self._tokens(patches, places, block_inputs, channels, frames)
        clip = from_patches(out, grid, self.patch)
        return clip[:, 0] if image else clip

    def _packed(
        self, x: Packed, time: Array, cond: Cond, dropout_keys: Array | None
    ) -> Float[Array, "b n out"]:
        if self.factored or self.registers or self.inputs.maps:
            raise ValueError("packed rows need full attention without registers, and have no maps")
        b, s = time.shape
        flat = jax.tree.map(lambda a: a.reshape(b * s, *a.shape[2:]), dict(cond))
        vector = self._vector(time.reshape(-1), flat).reshape(b, s, -1)
        text, text_mask = self._text(flat, b * s)
        if text is not None:
            each = text.shape[1]
            text = text.reshape(b, s * each, -1)
            mine = x.segments[:, :, None] == jnp.repeat(jnp.arange(s), each)
            text_mask = mine if text_mask is None else mine & text_mask.reshape(b, 1, -1)
        block_inputs = BlockInputs(
            vector,
            self._shared(vector),
            jnp.maximum(x.segments, 0),
            mask=same_segment(x.segments),
            text=text,
            text_mask=text_mask,
            dropout_keys=dropout_keys,
        )
        channels = self.out_channels or x.patches.shape[-1] // patch_size(self.patch)
        return self._tokens(x.patches, x.places, block_inputs, channels, None)

    def _tokens(
        self,
        patches: Array,
        places: Array,
        block_inputs: BlockInputs,
        channels: int,
        frames: int | None,
    ) -> Float[Array, "b n out"]:
        """Maps patches to tokens, through all blocks, and to patches again."""
        h = Dense(self.features, dtype=self.dtype, name="patches")(patches)
        added = self.positions.added(places, self.features)
        h = h if added is None else h + added.astype(self.dtype)
        rotation = self.positions.rotation(places, self.features // self.num_heads)
        if self.registers:
            h, rotation, block_inputs = self._with_registers(h, rotation, block_inputs)
        blocks = stacked(Block, self.depth, self.remat, self.unroll)(
            self.num_heads,
            self.mlp_features or 4 * self.features,
            self.qk_norm,
            self.text_norm,
            frames,
            self.dropout,
            self.eps,
            self.dtype,
            name="blocks",
        )
        h = blocks(h, block_inputs._replace(rotation=rotation))
        h, owner = h[:, self.registers :], block_inputs.owner
        owner = None if owner is None else owner[:, self.registers :]
        shared = jnp.tile(block_inputs.vector, 2) if self.shared_modulation else None
        modulation = Modulation(2, self.dtype, name="modulation")
        h = modulate(h, *modulation(block_inputs.vector, shared, owner), self.eps, self.dtype)
        width = channels * patch_size(self.patch)
        return Dense(width, kernel_init=zero_init, dtype=self.dtype, name="out")(h)

    def _vector(self, time: Array, cond: Cond) -> Float[Array, "b s d"]:
        """Returns a vector per example, or with times [b, f] per frame."""
        embed_time = time_embedding(self, self.time_sinusoids, self.features, self.time_features)
        if time.ndim == 1:
            return embed(self.inputs, embed_time, time, cond)[:, None]
        frames = time.shape[1]
        along = jax.tree.map(lambda a: jnp.repeat(a, frames, axis=0), dict(cond))
        vectors = embed(self.inputs, embed_time, time.reshape(-1), along)
        return vectors.reshape(len(time), frames, -1)

    def _shared(self, vector: Array) -> Float[Array, "b s d6"] | None:
        if not self.shared_modulation:
            return None
        width = 6 * self.features
        dense = Dense(width, kernel_init=zero_init, dtype=self.dtype, name="shared_modulation")
        return dense(nn.silu(vector))

    def _text(
        self, cond: Cond, batch: int
    ) -> tuple[Float[Array, "b n d"] | None, Bool[Array, "b n"] | None]:
        """Returns the text's tokens in the width of ours, and which of them count."""
        text, mask = read_text(self.inputs, cond, batch, self.dtype)
        if text is None:
            return None, None
        hidden = nn.gelu(Dense(self.features, dtype=self.dtype, name="text_hidden")(text))
        return Dense(self.features, dtype=self.dtype, name="text_out")(hidden), mask

    def _with_registers(
        self, h: Array, rotation: Array | None, block_inputs: BlockInputs
    ) -> tuple[Array, Array | None, BlockInputs]:
        """Puts learned tokens in front, unrotated, with the first token's owner."""
        count = self.registers
        registers = self.param("registers", token_init, (count, self.features))
        registers = jnp.broadcast_to(registers.astype(self.dtype), (len(h), *registers.shape))
        front = lambda a: jnp.pad(a, ((0, 0), (count, 0)) + ((0, 0),) * (a.ndim - 2))
        return (
            jnp.concatenate([registers, h], axis=1),
            None if rotation is None else front(rotation),
            block_inputs
            if block_inputs.owner is None
            else block_inputs._replace(owner=front(block_inputs.owner)),
        )

    def _frame_of_each(self, time: Array, grid: tuple[int, int, int]) -> Integer[Array, "1 n"]:
        if self.patch[0] != 1 or time.shape[1] != grid[0]:
            raise ValueError(
                f"time has shape {time.shape} for {grid[0]} patches in time, {self.patch[0]} frames"
                " long: a time for each frame needs patches of one frame"
            )
        return jnp.repeat(jnp.arange(grid[0]), grid[1] * grid[2])[None]

    def _check(self) -> None:
        num_heads(self.features, self.num_heads, None)
        patch_size(self.patch)
        if self.factored and self.registers:
            raise ValueError(
                f"registers={self.registers} with factored=True: registers belong to no frame"
            )
        if self.text_norm and self.inputs.text_features is None:
            raise ValueError("text_norm=True without inputs.text_features: there is no text")
