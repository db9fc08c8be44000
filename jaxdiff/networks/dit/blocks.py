"""The block of a diffusion transformer, whose norms are scaled and shifted by the conditions."""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Integer, Key

from jaxdiff.networks import layout
from jaxdiff.networks.attention import Attention, MultiHead
from jaxdiff.networks.layers import (
    Dense,
    Dropout,
    FeedForward,
    LayerNorm,
    RMSNorm,
    standardized,
    zero_init,
)


class BlockInputs(NamedTuple):
    """The inputs of all blocks beside the tokens.

    Attributes:
        vector: the embedding of time and conditions of a row; one each for `s` frames or clips.
        shared: the map of `vector` that all blocks share, for adaLN-single.
        owner: the number of each token's vector in its row; None where s = 1.
        rotation: angles of queries and keys; None for no rotation.
        mask: whether a token (first n) attends to another; None for all.
        text: tokens of a text; `text_mask`, whether a token attends to each of them.
        image: tokens of an image, to which tokens attend beside the text.
        dropout_keys: a key for each row; None for no dropout.
        residuals: for each layer, features that are added to its output; None for none.
    """

    vector: Float[Array, "b s d"]
    shared: Float[Array, "b s d6"] | None = None
    owner: Integer[Array, "#b n"] | None = None
    rotation: Float[Array, "#b n pairs"] | None = None
    mask: Bool[Array, "b n n"] | None = None
    text: Float[Array, "b m d"] | None = None
    text_mask: Bool[Array, "b #n m"] | None = None
    image: Float[Array, "b k d"] | None = None
    dropout_keys: Key[Array, " b"] | None = None
    residuals: Float[Array, "b layers n d"] | None = None

    def keys_of(self, layer: Integer[Array, ""]) -> Key[Array, " b"] | None:
        """Returns the dropout keys of a layer."""
        if self.dropout_keys is None:
            return None
        return jax.vmap(jax.random.fold_in, (0, None))(self.dropout_keys, layer)


class Modulation(nn.Module):
    """The shifts, scales and gates of a block, initially zero (Peebles & Xie, 2023, adaLN-Zero).

    A linear map of the vector; with `shared`, the sum of `shared` and a learned table (Chen et al.,
    2023, adaLN-single).
    """

    parts: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        vector: Float[Array, "b s d"],
        shared: Float[Array, "b s parts_d"] | None = None,
        owner: Integer[Array, "#b n"] | None = None,
    ) -> list[Float[Array, "b #n d"]]:
        """Returns the parts for each token, or one for all tokens of a row."""
        width = vector.shape[-1]
        if shared is None:
            dense = Dense(
                self.parts * width, kernel_init=zero_init, dtype=self.dtype, name="vector"
            )
            values = layout.whole(dense(nn.silu(vector)))
        else:
            table = self.param("table", zero_init, (self.parts, width))
            values = shared + table.reshape(-1).astype(self.dtype)
        if owner is not None:
            owner = jnp.broadcast_to(owner, (len(vector), owner.shape[1]))
            values = jnp.take_along_axis(values, owner[..., None], axis=1)
        return jnp.split(values, self.parts, axis=-1)


class Block(nn.Module):
    """Self-attention, attention to text, and a feed-forward part, each added to the tokens.

    Attributes:
        num_heads: of each attention.
        hidden: width of the feed-forward part's hidden layer.
        qk_norm: of each attention, as in `MultiHead`.
        text_norm: whether a norm precedes the attention to text.
        frames: number of frames of factored attention: tokens attend within their frame, then to
            the tokens at the same place in all frames (Bertasius et al., 2021). None for attention
            to all tokens.
        dropout: the rate, on each branch.
        gated: whether the feed-forward part is gated by a SiLU.
        rms_norm: whether norms are root mean squares with a learned scale.
    """

    num_heads: int
    hidden: int
    qk_norm: str | None = None
    text_norm: bool = False
    frames: int | None = None
    dropout: float = 0.0
    gated: bool = False
    rms_norm: bool = False
    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], layer: Integer[Array, ""], inputs: BlockInputs
    ) -> tuple[Float[Array, "b n c"], None]:
        """Returns the tokens, and None as the second output that a scan over layers needs."""
        keys = inputs.keys_of(layer)
        add = lambda *args: add_branch(*args, self.dropout, keys)
        modulation = Modulation(6, self.dtype, name="modulation")
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation(
            inputs.vector, inputs.shared, inputs.owner
        )

        attend = self._within_frames if self.frames else self._to_all
        x = add("self", x, gate, attend(self._modulated("self", x, shift, scale), inputs))
        if self.frames:
            modulation = Modulation(3, self.dtype, name="modulation_time")
            shift, scale, gate = modulation(inputs.vector, None, inputs.owner)
            h = self._modulated("time", x, shift, scale)
            x = add("time", x, gate, self._across_frames(h, inputs))
        if inputs.text is not None:
            h = LayerNorm(self.eps, self.dtype, name="norm_text")(x) if self.text_norm else x
            x = add("text", x, jnp.ones((), x.dtype), self._to_text(h, inputs))
        activation = nn.silu if self.gated else nn.gelu
        mlp = FeedForward(self.hidden, activation, self.gated, self.dtype, name="mlp")
        h = self._modulated("mlp", x, mlp_shift, mlp_scale)
        x = add("mlp", x, mlp_gate, mlp(h))
        return (x if inputs.residuals is None else x + inputs.residuals[:, layer]), None

    def _modulated(self, name: str, x: Array, shift: Array, scale: Array) -> Array:
        norm = f"norm_{name}" if self.rms_norm else None
        return modulate(x, shift, scale, self.eps, self.dtype, rms_norm=norm)

    @property
    def _heads(self) -> MultiHead:
        return MultiHead(self.num_heads, qk_norm=self.qk_norm, dtype=self.dtype)

    def _to_all(self, h: Array, inputs: BlockInputs) -> Array:
        mask = None if inputs.mask is None else inputs.mask[:, None]
        return Attention(self._heads, name="self")(h, mask=mask, rotation=inputs.rotation)

    def _to_text(self, h: Array, inputs: BlockInputs) -> Array:
        heads = dataclasses.replace(self._heads, out_init=zero_init)  # no change at first
        mask = None if inputs.text_mask is None else inputs.text_mask[:, None]
        return Attention(heads, name="text")(h, inputs.text, mask=mask, image=inputs.image)

    def _within_frames(self, h: Array, inputs: BlockInputs) -> Array:
        h = rearrange(h, "b (f p) c -> (b f) p c", f=self.frames)
        # Attention depends on differences of angles only: the first frame's serve all frames.
        rotation = None if inputs.rotation is None else inputs.rotation[:, : h.shape[1]]
        h = Attention(self._heads, name="self")(h, rotation=rotation)
        return rearrange(h, "(b f) p c -> b (f p) c", f=self.frames)

    def _across_frames(self, h: Array, inputs: BlockInputs) -> Array:
        places = h.shape[1] // self.frames
        h = rearrange(h, "b (f p) c -> (b p) f c", f=self.frames)
        rotation = None if inputs.rotation is None else inputs.rotation[:, ::places]
        h = Attention(self._heads, name="time")(h, rotation=rotation)
        return rearrange(h, "(b p) f c -> b (f p) c", p=places)


def add_branch(
    name: str,
    x: Float[Array, "b n c"],
    gate: Float[Array, "*#bnc"],
    change: Float[Array, "b n c"],
    rate: float,
    keys: Key[Array, " b"] | None,
) -> Float[Array, "b n c"]:
    """Returns `x + gate·dropout(change)`, inside of a compact method."""
    return layout.whole(x + gate * Dropout(rate, name=f"dropout_{name}")(change, keys))


def modulate(
    x: Float[Array, "b n c"],
    shift: Float[Array, "b #n c"],
    scale: Float[Array, "b #n c"],
    eps: float,
    dtype: Any,
    rms_norm: str | None = None,
) -> Float[Array, "b n c"]:
    """Returns the tokens normalized, scaled by 1 + `scale`, and shifted.

    With a name, the norm is a root mean square of this name, inside of a compact method.
    """
    h = RMSNorm(eps, name=rms_norm)(x) if rms_norm else standardized(x, eps)
    return (h * (1 + scale) + shift).astype(dtype)
