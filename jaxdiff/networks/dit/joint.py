"""The transformer of two streams, image and text, that attend to both (Esser et al., 2024)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from jaxdiff.networks.attention import attend, num_heads, project
from jaxdiff.networks.conditioning import embed, read_text, with_maps
from jaxdiff.networks.dit.blocks import Modulation, Perceptron, Told, modulate
from jaxdiff.networks.dit.patches import from_patches, patch_size, to_patches
from jaxdiff.networks.dit.positions import Centred, Positions, Waves
from jaxdiff.networks.dit.stack import stacked
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.layers import Dense, Dropout, SinCos, TimeEmbedding, zero_init
from jaxdiff.typing import Cond

Streams = tuple[Float[Array, "b n c"], Float[Array, "b m c"]]


class JointBlock(nn.Module):
    """Attention among the tokens of both streams, and perceptrons; each has weights of its own.

    Attributes:
        num_heads, hidden, qk_norm, dropout: as in `Block`.
        last: whether the text is only attended to, and not changed.
    """

    num_heads: int
    hidden: int
    qk_norm: str | None = None
    dropout: float = 0.0
    last: bool = False
    eps: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, streams: Streams, layer: Integer[Array, ""], told: Told
    ) -> tuple[Streams, None]:
        """Returns both streams, and nothing else, as a scan over layers wants it."""
        x, text = streams
        modulation = lambda parts, name: Modulation(parts, self.dtype, name=name)(told.vector)
        shift, scale, gate, *of_mlp = modulation(6, "modulation")
        text_shift, text_scale, *text_rest = modulation(2 if self.last else 6, "text_modulation")

        h = modulate(x, shift, scale, self.eps, self.dtype)
        text_h = modulate(text, text_shift, text_scale, self.eps, self.dtype)
        mixed, text_mixed = self._attend(h, text_h, told)
        x = self._add(x, gate, self._out(mixed, "out"), layer, told, "self")
        x = self._perceive(x, of_mlp, layer, told, "mlp")
        if self.last:
            return (x, text), None
        text_gate, *of_text_mlp = text_rest
        change = self._out(text_mixed, "text_out")
        text = self._add(text, text_gate, change, layer, told, "text_self")
        return (x, self._perceive(text, of_text_mlp, layer, told, "text_mlp")), None

    def _attend(self, h: Array, text: Array, told: Told) -> Streams:
        n, m, c = h.shape[1], text.shape[1], h.shape[2]
        options = c, self.num_heads, True, self.qk_norm, self.dtype

        def both(name: str, *, turned: bool) -> Array:
            rotation = told.rotation if turned else None
            mine = project(name, h, *options, rotation)
            return jnp.concatenate([mine, project(f"text_{name}", text, *options)], axis=1)

        mask = told.text_mask
        if mask is not None:
            mask = jnp.pad(mask, ((0, 0), (0, 0), (n, 0)), constant_values=True)[:, None]
        mixed = attend(
            both("query", turned=True),
            both("key", turned=True),
            both("value", turned=False),
            mask=mask,
        )
        mixed = mixed.reshape(len(h), n + m, c)
        return mixed[:, :n], mixed[:, n:]

    def _out(self, mixed: Array, name: str) -> Array:
        return Dense(mixed.shape[-1], dtype=self.dtype, name=name)(mixed)

    def _perceive(
        self, x: Array, parts: list[Array], layer: Array, told: Told, name: str
    ) -> Float[Array, "b n c"]:
        shift, scale, gate = parts
        h = modulate(x, shift, scale, self.eps, self.dtype)
        change = Perceptron(self.hidden, self.dtype, name=name)(h)
        return self._add(x, gate, change, layer, told, name)

    def _add(
        self, x: Array, gate: Array, change: Array, layer: Array, told: Told, name: str
    ) -> Float[Array, "b n c"]:
        keys = told.dropout_keys
        if keys is not None:
            keys = jax.vmap(jax.random.fold_in, (0, None))(keys, layer)
        return x + gate * Dropout(self.dropout, name=f"dropout_{name}")(change, keys)


class MMDiT(nn.Module):
    """Joint attention of the patches of an image or a clip and of the tokens of a text.

    Attributes:
        inputs: the conditions, among them a text.
        features, depth, num_heads, mlp_features, patch, positions, qk_norm, dropout, waves,
            wave_features, remat, unroll, out_channels, dtype: as in `DiT`.
    """

    features: int = 1536
    depth: int = 24
    num_heads: int = 24
    mlp_features: int | None = None
    patch: Sequence[int] = (1, 2, 2)
    positions: Positions = Waves(Centred(extent=64.0, most=192))
    qk_norm: str | None = None
    dropout: float = 0.0
    waves: nn.Module = SinCos()
    wave_features: int = 256
    inputs: Inputs = Inputs(text_features=4096)
    remat: str | None = None
    unroll: int = 1
    out_channels: int | None = None
    eps: float = 1e-6
    dtype: Any = jnp.float32

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
            ValueError: the size is not made of patches; the heads do not divide the width; a
                condition has another shape than it should, or is missing.
        """
        image = x.ndim == 4
        whole = with_maps(self.inputs, x, cond, self.dtype)
        patches, grid = to_patches(whole[:, None] if image else whole, self.patch)
        heads = num_heads(self.features, self.num_heads, None)
        if self.depth < 2:
            raise ValueError(f"depth={self.depth}: at least 2, of which the last ends the text")
        if self.inputs.text_features is None:
            raise ValueError("MMDiT needs inputs.text_features, the width of the text's tokens")
        dense = lambda features, name, **options: Dense(
            features, dtype=self.dtype, name=name, **options
        )
        places = jnp.asarray(self.positions.places(grid))[None]
        h = dense(self.features, "patches")(patches)
        added = self.positions.added(places, self.features)
        h = h if added is None else h + added.astype(self.dtype)
        text, text_mask = read_text(self.inputs, cond, len(x), self.dtype)
        text = dense(self.features, "text_in")(text)
        embed_time = TimeEmbedding(
            self.features, self.wave_features, self.waves, self.dtype, name="time"
        )
        vector = embed(self.inputs, embed_time, time, cond)[:, None]
        told = Told(
            vector,
            rotation=self.positions.rotation(places, self.features // heads),
            text_mask=None if text_mask is None else text_mask[:, None],
            dropout_keys=dropout_keys,
        )
        options = {
            "num_heads": heads,
            "hidden": self.mlp_features or 4 * self.features,
            "qk_norm": self.qk_norm,
            "dropout": self.dropout,
            "eps": self.eps,
            "dtype": self.dtype,
        }
        both = stacked(JointBlock, self.depth - 1, self.remat, self.unroll)
        streams = both(**options, name="blocks")((h, text), told)
        ending = JointBlock(**options, last=True, name="last_block")
        (h, _), _ = ending(streams, jnp.asarray(self.depth - 1), told)

        shift, scale = Modulation(2, self.dtype, name="modulation")(vector)
        h = modulate(h, shift, scale, self.eps, self.dtype)
        width = (self.out_channels or x.shape[-1]) * patch_size(self.patch)
        out = dense(width, "out", kernel_init=zero_init)(h)
        clip = from_patches(out, grid, self.patch)
        return clip[:, 0] if image else clip
