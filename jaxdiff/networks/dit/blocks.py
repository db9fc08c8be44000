"""The block of a diffusion transformer, whose norms are scaled and shifted by the conditions."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Key

from jaxdiff.networks.attention import Attention
from jaxdiff.networks.layers import Dense, Dropout, LayerNorm, standardized, zero_init


class Told(NamedTuple):
    """What every block is told beside the tokens.

    Of the `s` vectors of a row, `owner` says which is each token's; without it there is one.
    """

    vector: Float[Array, "b s d"]
    shared: Float[Array, "b s d6"] | None = None
    owner: Integer[Array, "#b n"] | None = None
    rotation: Float[Array, "#b n pairs"] | None = None
    mask: Bool[Array, "b n n"] | None = None
    text: Float[Array, "b m d"] | None = None
    text_mask: Bool[Array, "b #n m"] | None = None
    dropout_keys: Key[Array, " b"] | None = None


class Modulation(nn.Module):
    """The shifts, scales and gates of a block, all zero at first (Peebles & Xie, 2023, adaLN-Zero).

    A linear map of the vector; or where `shared` is given, that and a table of the block's own
    (Chen et al., 2023, adaLN-single).
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
        """Returns the parts for each token, or for all of a row."""
        width = vector.shape[-1]
        if shared is None:
            dense = Dense(
                self.parts * width, kernel_init=zero_init, dtype=self.dtype, name="vector"
            )
            whole = dense(nn.silu(vector))
        else:
            table = self.param("table", zero_init, (self.parts, width))
            whole = shared + table.reshape(-1).astype(self.dtype)
        if owner is not None:
            owner = jnp.broadcast_to(owner, (len(vector), owner.shape[1]))
            whole = jnp.take_along_axis(whole, owner[..., None], axis=1)
        return jnp.split(whole, self.parts, axis=-1)


class Perceptron(nn.Module):
    """Two layers with GELU between them."""

    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        """Returns tokens of the same width."""
        hidden = nn.gelu(Dense(self.hidden, dtype=self.dtype, name="hidden")(x))
        return Dense(x.shape[-1], dtype=self.dtype, name="out")(hidden)


class Block(nn.Module):
    """Attention among tokens, to text where there is one, and a perceptron, each added.

    Attributes:
        num_heads: of each attention.
        hidden: width of the perceptron's hidden layer.
        qk_norm: of each attention, as in `Attention`.
        text_norm: whether a norm precedes the attention to text.
        frames: where attention is factored, how many the tokens are divided into: they attend
            within their frame, then to those of their place in all frames (Bertasius et al., 2021).
        dropout: the rate, on what is added.
    """

    num_heads: int
    hidden: int
    qk_norm: str | None = None
    text_norm: bool = False
    frames: int | None = None
    dropout: float = 0.0
    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], layer: Integer[Array, ""], told: Told
    ) -> tuple[Float[Array, "b n c"], None]:
        """Returns the tokens, and nothing else, as a scan over layers wants it."""
        modulation = Modulation(6, self.dtype, name="modulation")
        parts = modulation(told.vector, told.shared, told.owner)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = parts

        def add(x: Array, gate: Array, change: Array, name: str) -> Array:
            keys = told.dropout_keys
            if keys is not None:
                keys = jax.vmap(jax.random.fold_in, (0, None))(keys, layer)
            return x + gate * Dropout(self.dropout, name=f"dropout_{name}")(change, keys)

        h = self._modulated(x, shift, scale)
        x = add(
            x, gate, self._within_frames(h, told) if self.frames else self._all(h, told), "self"
        )
        if self.frames:
            time = Modulation(3, self.dtype, name="modulation_time")
            shift, scale, gate = time(told.vector, None, told.owner)
            h = self._modulated(x, shift, scale)
            x = add(x, gate, self._across_frames(h, told), "time")
        if told.text is not None:
            norm = LayerNorm(self.eps, self.dtype, name="norm_text") if self.text_norm else None
            h = norm(x) if norm else x
            # At first the text changes nothing, as nothing else does.
            text = self._attention("text", out_init=zero_init)
            x = add(x, jnp.ones((), x.dtype), text(h, told.text, told.text_mask), "text")
        h = self._modulated(x, mlp_shift, mlp_scale)
        mlp = Perceptron(self.hidden, self.dtype, name="mlp")
        return add(x, mlp_gate, mlp(h), "mlp"), None

    def _attention(self, name: str, **options: Any) -> Attention:
        return Attention(
            self.num_heads,
            use_bias=True,
            qk_norm=self.qk_norm,
            dtype=self.dtype,
            name=name,
            **options,
        )

    def _modulated(self, x: Array, shift: Array, scale: Array) -> Array:
        return modulate(x, shift, scale, self.eps, self.dtype)

    def _all(self, h: Array, told: Told) -> Array:
        return self._attention("self")(h, h, told.mask, told.rotation)

    def _within_frames(self, h: Array, told: Told) -> Array:
        b, n, c = h.shape
        h = h.reshape(b * self.frames, n // self.frames, c)
        # Attention sees differences of angles only: those of the first frame do for all.
        rotation = None if told.rotation is None else told.rotation[:, : h.shape[1]]
        return self._attention("self")(h, h, None, rotation).reshape(b, n, c)

    def _across_frames(self, h: Array, told: Told) -> Array:
        b, n, c = h.shape
        places = n // self.frames
        by_place = h.reshape(b, self.frames, places, c).swapaxes(1, 2)
        by_place = by_place.reshape(b * places, self.frames, c)
        rotation = None if told.rotation is None else told.rotation[:, ::places]
        mixed = self._attention("time")(by_place, by_place, None, rotation)
        return mixed.reshape(b, places, self.frames, c).swapaxes(1, 2).reshape(b, n, c)


def modulate(
    x: Float[Array, "b n c"],
    shift: Float[Array, "b #n c"],
    scale: Float[Array, "b #n c"],
    eps: float,
    dtype: Any,
) -> Float[Array, "b n c"]:
    """Returns the tokens normalized, scaled by 1 + `scale`, and shifted."""
    return (standardized(x, eps) * (1 + scale) + shift).astype(dtype)
