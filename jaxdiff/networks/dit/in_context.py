"""A diffusion transformer that reads its conditions as tokens before those of the image."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from jaxdiff.networks.attention import Attention, MultiHead, num_heads
from jaxdiff.networks.conditioning import ConditionEmbedding, with_maps
from jaxdiff.networks.dit.blocks import BlockInputs, add_branch
from jaxdiff.networks.dit.ends import as_clip
from jaxdiff.networks.dit.patches import from_patches, patch_size, to_patches
from jaxdiff.networks.dit.positions import Rotary
from jaxdiff.networks.dit.stack import Remat, stacked
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import Dense, FeedForward, RMSNorm, zero_init
from jaxdiff.networks.times import SinCos, time_embedding
from jaxdiff.options import Count, Depth, Filled, FloatType, PositiveFloat, Range, Width, checked
from jaxdiff.typing import Cond


class GatedBlock(nn.Module):
    """Self-attention and a gated feed-forward part, each behind a gate that is closed at first.

    Attributes:
        num_heads, hidden, dropout: as in `Block`.
    """

    num_heads: int
    hidden: int
    dropout: float = 0.0
    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], layer: Integer[Array, ""], inputs: BlockInputs
    ) -> tuple[Float[Array, "b n c"], None]:
        """Returns the tokens, and None as the second output that a scan over layers needs."""
        keys = inputs.keys_of(layer)
        gates = self.param("gates", zero_init, (2, x.shape[-1])).astype(self.dtype)
        norm = lambda name: RMSNorm(self.eps, self.dtype, name=f"norm_{name}")(x)
        heads = MultiHead(
            self.num_heads, use_bias=False, out_bias=False, qk_norm="head", dtype=self.dtype
        )
        h = Attention(heads, name="self")(norm("self"), rotation=inputs.rotation)
        x = add_branch("self", x, gates[0], h, self.dropout, keys)
        mlp = FeedForward(self.hidden, nn.silu, gated=True, dtype=self.dtype, name="mlp")
        return add_branch("mlp", x, gates[1], mlp(norm("mlp")), self.dropout, keys), None


TOKENS = {"label": 8, "guidance_from": 2, "guidance_to": 2}


@checked
class InContextDiT(nn.Module):
    """Patches after tokens of time and conditions (Geng et al. 2025b, iMF; Lu et al. 2026, pMF).

    Each condition has learned tokens, to all of which its embedding is added. Blocks have no
    modulation: norms are root mean squares, feed-forward parts are gated, queries and keys normed
    and rotated, those of the image by their place.

    Attributes:
        features, depth, num_heads, mlp_features, patch, dropout, time_sinusoids, time_features,
            inputs, remat, unroll, out_channels, eps, dtype: as in `DiT`, but that `mlp_features` is
            by default 8/3 of the width.
        tokens: how many tokens conditions and "time" have, where not 8 of "label", 2 of each end of
            an interval of guidance, and 4 of all others.
        bottleneck: width of a first map of the patches, None for none.
    """

    features: Width = 768
    depth: Depth = 12
    num_heads: Depth = 12
    mlp_features: Width | None = None
    patch: Annotated[Sequence[Width], Filled()] = (1, 2, 2)
    tokens: Mapping[str, Count] | None = None
    bottleneck: Width | None = None
    positions: Rotary = Rotary()
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.0
    time_sinusoids: nn.Module = SinCos()
    time_features: Width = 256
    inputs: Inputs = Inputs()
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
        x: Float[Array, "b *space c"],
        time: Float[Array, " b"],
        cond: Cond,
        dropout_keys: Key[Array, " b"] | None = None,
    ) -> Float[Array, "b *space out"]:
        """Returns an image or a clip of `out_channels`; without `dropout_keys` there is no dropout.

        Raises:
            ValueError: the size is not made of patches; the heads do not divide the width; text is
                among the conditions; a condition has the wrong shape, or is missing.
        """
        heads = num_heads(self.features, self.num_heads, None)
        inputs = self.inputs
        if any((inputs.text_features, inputs.image_features, inputs.joint(), inputs.sliced())):
            raise ValueError("InContextDiT reads labels, vectors and scalars, no text")
        clip = as_clip(with_maps(self.inputs, x, cond, self.dtype))  # [b f h w c]
        patches, grid = to_patches(clip, self.patch)  # [b n p]
        if self.bottleneck:
            narrow = Dense(self.bottleneck, use_bias=False, dtype=self.dtype, name="bottleneck")
            patches = narrow(patches)
        image = Dense(self.features, dtype=self.dtype, name="patches")(patches)
        context = self._context(time, cond)  # [b m d]
        places = jnp.asarray(self.positions.places(grid))[None]  # [1 n 3]
        rotation = self.positions.rotation(places, self.features // heads)
        count = context.shape[1]
        block_inputs = BlockInputs(
            context,
            rotation=jnp.pad(rotation, ((0, 0), (count, 0), (0, 0))),
            dropout_keys=dropout_keys,
        )
        hidden = self.mlp_features or 8 * self.features // 3
        blocks = stacked(GatedBlock, self.depth, self.remat, self.unroll)(
            heads, hidden, self.dropout, self.eps, self.dtype, name="blocks"
        )
        h = blocks(jnp.concatenate([context, image], axis=1), block_inputs)[:, count:]
        h = RMSNorm(self.eps, self.dtype, name="norm_out")(h)
        width = (self.out_channels or x.shape[-1]) * patch_size(self.patch)
        out = Dense(width, zero_init, dtype=self.dtype, name="out")(h)  # [b n p2]
        clip = from_patches(out, grid, self.patch)  # [b f h w out]
        return clip[:, 0] if x.ndim == 4 else clip

    def _context(self, time: Array, cond: Cond) -> Float[Array, "b m features"]:
        """Returns the tokens of the time and of all conditions."""
        embed_time = time_embedding(self, self.time_sinusoids, self.features, self.time_features)
        vectors = {"time": embed_time(time)}
        options = self.features, self.dtype, self.inputs.learned_null
        for name, kind in self.inputs.embedded().items():
            embed = ConditionEmbedding({name: kind}, *options, name=f"cond_{name}")
            vectors[name] = embed(cond, len(time))
        init = nn.initializers.normal(self.features**-0.5)
        counts = {**TOKENS, **(self.tokens or {})}
        parts = []
        for name, vector in vectors.items():
            shape = (counts.get(name, 4), self.features)
            learned = self.param(f"tokens_{name}", init, shape).astype(self.dtype)
            parts.append(vector[:, None] + learned)
        return jnp.concatenate(parts, axis=1)
