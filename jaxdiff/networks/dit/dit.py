"""The diffusion transformer over patches in space and time (Peebles & Xie, 2023)."""

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Integer, Key

from jaxdiff.networks.attention import num_heads
from jaxdiff.networks.conditioning import embed, read_image, read_text, with_maps
from jaxdiff.networks.dit.blocks import Block, BlockInputs, Modulation
from jaxdiff.networks.dit.ends import as_clip, to_output, to_tokens
from jaxdiff.networks.dit.packing import Packed, same_clip_as_text, same_segment
from jaxdiff.networks.dit.patches import from_patches, patch_size, to_patches
from jaxdiff.networks.dit.positions import Grid, Positions, SinCosPositions
from jaxdiff.networks.dit.stack import Remat, stacked
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import Dense, LayerNorm, feed_forward, zero_init
from jaxdiff.networks.times import SinCos, time_embedding
from jaxdiff.options import Between, Depth, Filled, FloatType, PositiveFloat, Range, Width, checked
from jaxdiff.typing import Cond

token_init = nn.initializers.normal(0.02)


@checked
class DiT(nn.Module):
    """Transformer blocks over the patches of an image [b, h, w, c] or a clip [b, f, h, w, c].

    The options give DiT and SiT (Ma et al., 2024), with text PixArt-alpha (Chen et al., 2023) and
    the video transformer of Wan (2025), and factored attention as in Latte (Ma et al., 2024).

    Attributes:
        features: width of the tokens; `depth`, number of blocks; `num_heads`, of each attention.
        mlp_features: width of the hidden layer of each block's MLP; None for `4 * features`.
        patch: frames, height and width of a patch.
        positions: `SinCosPositions(...)` or `Rotary(...)`.
        factored: whether tokens attend within their frame and then across frames, instead of to
            all. The layers across frames change nothing at first, so weights of a network of images
            load into a network of clips.
        shared_modulation: whether all blocks share one linear map, to which each adds a table.
        qk_norm: None, "head" or "all", as in `MultiHead`.
        registers: number of learned tokens, left out at the end (Darcet et al., 2024); with
            `register_vector` a map of the embedding of time and conditions is added to them.
        gated, rms_norm: of the blocks, as in `Block`; `rms_norm` of the last norm, too.
        dropout: the rate, on each branch.
        time_sinusoids: sines and cosines of the time; `time_features`, how many.
        inputs: the conditions; every block attends to the text, after an MLP, and to an image
            prompt beside it. Packed rows have no maps and no image prompts.
        text_norm: whether a norm precedes the attention to the text.
        remat: policy of `jax.checkpoint_policies` for the values that the gradient saves of a
            block; None for all.
        unroll: number of blocks that the scan compiles at a time.
        out_channels: None for those of the input; twice as many for a learned variance.
        dtype: of the compute and of the output.
    """

    features: Width = 384
    depth: Depth = 12
    num_heads: Depth = 6
    mlp_features: Width | None = None
    patch: Annotated[Sequence[Width], Filled()] = (1, 2, 2)
    positions: Positions = SinCosPositions()
    factored: bool = False
    shared_modulation: bool = False
    qk_norm: Literal["head", "all"] | None = None
    registers: Annotated[int, Between(0, 65536)] = 0
    register_vector: bool = False
    gated: bool = False
    rms_norm: bool = False
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.0
    time_sinusoids: nn.Module = SinCos()
    time_features: Width = 256
    inputs: Inputs = Inputs()
    text_norm: bool = False
    remat: Remat | None = None
    unroll: Depth = 1
    out_channels: Width | None = None
    eps: PositiveFloat = 1e-6
    dtype: FloatType = jnp.float32

    @property
    def feature_layers(self) -> tuple[str, ...]:
        """Returns the layers that discriminators read by default: the tokens after each block."""
        return tuple(f"blocks[{i}]" for i in range(self.depth))

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *space c"] | Packed,
        time: Float[Array, "b *f"],
        cond: Cond,
        dropout_keys: Key[Array, " b"] | None = None,
        residuals: Float[Array, "b layers n d"] | None = None,
    ) -> Float[Array, "b *space out"]:
        """Returns an image or a clip of `out_channels`; without `dropout_keys` there is no dropout.

        `residuals`, such as those of a `ControlDiT`, are added to the outputs of the first blocks.
        Times [b, f] are those of frames; patches must then be one frame long. The clips of a
        `Packed` row have times [b, s] and conditions [b, s, ...]; the output is patches [b, n, p].

        Raises:
            ValueError: the size is not made of patches; options contradict each other; a condition
                has the wrong shape, or is missing.
        """
        self._check()
        if isinstance(x, Packed):
            if residuals is not None:
                raise ValueError("packed rows take no residuals")
            channels = x.patches.shape[-1] // patch_size(self.patch)
            block_inputs = self._inputs_of_packed(x, time, cond, dropout_keys)
            return self._transform(x.patches, x.places, block_inputs, channels)
        patches, grid, block_inputs = self._enter(x, time, cond, dropout_keys)
        if residuals is not None:
            later = self.depth - residuals.shape[1]
            padded = jnp.pad(residuals, ((0, 0), (0, later), (self.registers, 0), (0, 0)))
            block_inputs = block_inputs._replace(residuals=padded)
        frames = grid[0] if self.factored else None
        places = jnp.asarray(self.positions.places(grid))[None]  # [1 n 3]
        out = self._transform(patches, places, block_inputs, x.shape[-1], frames)  # [b n p2]
        clip = from_patches(out, grid, self.patch)  # [b f h w out]
        return clip[:, 0] if x.ndim == 4 else clip

    def _enter(
        self, x: Array, time: Array, cond: Cond, dropout_keys: Array | None
    ) -> tuple[Float[Array, "b n p"], Grid, BlockInputs]:
        """Returns the patches, how many there are along each axis, and the blocks' inputs."""
        clip = as_clip(with_maps(self.inputs, x, cond, self.dtype))  # [b f h w c]
        patches, grid = to_patches(clip, self.patch)
        return patches, grid, self._inputs_of_blocks(time, cond, grid, dropout_keys)

    def _transform(
        self,
        patches: Array,
        places: Array,
        block_inputs: BlockInputs,
        channels: int,
        frames: int | None = None,
    ) -> Float[Array, "b n out"]:
        """Returns the output for each patch."""
        h, block_inputs = self._tokens(patches, places, block_inputs)
        h = self._blocks(Block, frames)(h, block_inputs)[:, self.registers :]
        owner = block_inputs.owner
        owner = None if owner is None else owner[:, self.registers :]
        shared = jnp.tile(block_inputs.vector, 2) if self.shared_modulation else None
        parts = Modulation(2, self.dtype, name="modulation")(block_inputs.vector, shared, owner)
        width = (self.out_channels or channels) * patch_size(self.patch)
        return to_output(h, parts, width, self.eps, self.dtype, self.rms_norm)

    def _tokens(
        self,
        patches: Array,
        places: Array,
        block_inputs: BlockInputs,
        hint: Array | None = None,
    ) -> tuple[Float[Array, "b n d"], BlockInputs]:
        """Returns the tokens of the patches, plus a `hint`, and registers before them."""
        h = to_tokens(patches, places, self.positions, self.features, self.dtype)
        h = h if hint is None else h + hint
        rotation = self.positions.rotation(places, self.features // self.num_heads)
        block_inputs = block_inputs._replace(rotation=rotation)
        return self._with_registers(h, block_inputs) if self.registers else (h, block_inputs)

    def _blocks(self, block: type[nn.Module], frames: int | None, *, each: bool = False) -> Any:
        return stacked(block, self.depth, self.remat, self.unroll, each=each)(
            self.num_heads,
            self.mlp_features or 4 * self.features,
            self.qk_norm,
            self.text_norm,
            frames,
            self.dropout,
            self.gated,
            self.rms_norm,
            self.eps,
            self.dtype,
            name="blocks",
        )

    def _inputs_of_blocks(
        self, time: Array, cond: Cond, grid: Grid, dropout_keys: Array | None
    ) -> BlockInputs:
        vector = self._vector(time, cond)
        text, text_mask = self._text(cond, len(time))
        return BlockInputs(
            vector,
            self._shared(vector),
            self._frame_of_each(time, grid) if time.ndim == 2 else None,
            text=text,
            text_mask=None if text_mask is None else text_mask[:, None],
            image=self._image(cond, len(time)),
            dropout_keys=dropout_keys,
        )

    def _inputs_of_packed(
        self, x: Packed, time: Array, cond: Cond, dropout_keys: Array | None
    ) -> BlockInputs:
        if self.factored or self.registers or self.inputs.maps or self.inputs.image_features:
            raise ValueError(
                "packed rows need factored=False, registers=0, no inputs.maps and no image_features"
            )
        b, s = time.shape
        flat = jax.tree.map(lambda a: rearrange(a, "b s ... -> (b s) ..."), dict(cond))
        vector = rearrange(self._vector(time.reshape(-1), flat), "(b s) 1 d -> b s d", b=b)
        text, text_mask = self._text(flat, b * s)
        if text is not None:
            text_mask = same_clip_as_text(x.segments, s, text.shape[1], text_mask)
            text = rearrange(text, "(b s) n d -> b (s n) d", b=b)
        return BlockInputs(
            vector,
            self._shared(vector),
            jnp.maximum(x.segments, 0),
            mask=same_segment(x.segments),
            text=text,
            text_mask=text_mask,
            dropout_keys=dropout_keys,
        )

    def _vector(self, time: Array, cond: Cond) -> Float[Array, "b s d"]:
        """Returns an embedding per example, or with times [b, f] per frame."""
        embed_time = time_embedding(self, self.time_sinusoids, self.features, self.time_features)
        if time.ndim == 1:
            return embed(self.inputs, embed_time, time, cond)[:, None]
        frames = time.shape[1]
        repeated = jax.tree.map(lambda a: repeat(a, "b ... -> (b f) ...", f=frames), dict(cond))
        vectors = embed(self.inputs, embed_time, time.reshape(-1), repeated)
        return rearrange(vectors, "(b f) d -> b f d", f=frames)

    def _shared(self, vector: Array) -> Float[Array, "b s d6"] | None:
        if not self.shared_modulation:
            return None
        width = 6 * self.features
        dense = Dense(width, kernel_init=zero_init, dtype=self.dtype, name="shared_modulation")
        return dense(nn.silu(vector))

    def _text(
        self, cond: Cond, batch: int
    ) -> tuple[Float[Array, "b n features"] | None, Bool[Array, "b n"] | None]:
        """Returns the tokens of the text after an MLP, and their mask."""
        text, mask = read_text(self.inputs, cond, batch, self.dtype)
        if text is not None:
            width = self.features
            text = feed_forward(text, width, width, dtype=self.dtype, prefix="text_")
        return text, mask

    def _image(self, cond: Cond, batch: int) -> Float[Array, "b n features"] | None:
        """Returns the tokens of the image prompt, after an MLP between two norms (Wan, 2025)."""
        image = read_image(self.inputs, cond, batch, self.dtype)
        if image is None:
            return None
        norm = lambda name: LayerNorm(dtype=self.dtype, name=f"image_norm_{name}")
        gelu = functools.partial(nn.gelu, approximate=False)
        options = {"dtype": self.dtype, "prefix": "image_"}
        width = image.shape[-1]
        return norm("out")(feed_forward(norm("in")(image), width, self.features, gelu, **options))

    def _with_registers(self, h: Array, block_inputs: BlockInputs) -> tuple[Array, BlockInputs]:
        """Puts learned tokens in front, unrotated, with the first vector of their row."""
        count = self.registers
        registers = self.param("registers", token_init, (count, self.features)).astype(self.dtype)
        front = lambda a: jnp.pad(a, ((0, 0), (count, 0)) + ((0, 0),) * (a.ndim - 2))
        padded = {
            name: front(value)
            for name in ("owner", "rotation")
            if (value := getattr(block_inputs, name)) is not None
        }
        tokens = repeat(registers, "n d -> b n d", b=len(h))
        if self.register_vector:
            of_vector = Dense(self.features, dtype=self.dtype, name="register_vector")
            tokens += of_vector(block_inputs.vector[:, :1])
        h = jnp.concatenate([tokens, h], axis=1)
        return h, block_inputs._replace(**padded)

    def _frame_of_each(self, time: Array, grid: Grid) -> Integer[Array, "1 n"]:
        if self.patch[0] != 1 or time.shape[1] != grid[0]:
            raise ValueError(
                f"time has shape {time.shape}, for {grid[0]} patches of {self.patch[0]} frames;"
                " a time for each frame needs patches of one frame"
            )
        return repeat(jnp.arange(grid[0]), "f -> 1 (f p)", p=grid[1] * grid[2])

    def _check(self) -> None:
        num_heads(self.features, self.num_heads, None)
        patch_size(self.patch)
        if self.factored and self.registers:
            raise ValueError(
                f"registers={self.registers} with factored=True: registers need factored=False"
            )
        image = self.inputs.image_features
        given = {"text_norm=True": self.text_norm, f"inputs.image_features={image}": image}
        for option in (option for option, value in given.items() if value):
            if self.inputs.text_features is None:
                raise ValueError(
                    f"{option} needs inputs.text_features, the width of the text's tokens"
                )
