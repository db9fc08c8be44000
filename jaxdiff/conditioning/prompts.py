"""Prompts to conditions: tokenizer, network, and several of them side by side."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdiff.conditioning.tokens import TOO_LONG, Tokenizer, Tokens
from jaxdiff.typing import Cond, Condition, Params


class Encoded(NamedTuple):
    """A state for each token, which of them are text, and one vector for all of them."""

    tokens: Float[Array, "b n d"]
    mask: Bool[Array, "b n"]
    pooled: Float[Array, "b p"] | None

    def condition(self, name: str = "text") -> Condition:
        """Returns the fields `name`, `name_mask` and, where there is one, `name_pooled`."""
        pooled = {} if self.pooled is None else {f"{name}_pooled": self.pooled}
        return Condition({name: self.tokens, f"{name}_mask": self.mask, **pooled})

    def cond(self, name: str = "text") -> Cond:
        """Returns the condition under its name, for a denoiser."""
        return {name: self.condition(name)}


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer, and a network `(ids [b, n], mask [b, n]) -> States`.

    Attributes:
        tokenizer: None for an encoder of tokens that others made.
        window: the number of tokens that the network sees at a time; shorter prompts are padded.
        attend_padding: whether padding is text like any other, as Stable Diffusion's U-Nets and
            Flux were trained; otherwise the network does not look at it, and `Encoded.mask` is
            False there.
        too_long: what becomes of a prompt that does not fit the window: "error", "chunk" or
            "truncate". Chunks are encoded apart, each with special tokens of its own; their token
            states follow each other, and the pooled vector is the first one's.

    Raises:
        ValueError: `too_long` is unknown; the network has fewer positions than the window, or
            fewer tokens than the tokenizer.
    """

    network: Any
    tokenizer: Tokenizer | None
    window: int
    attend_padding: bool = False
    too_long: str = "error"

    def __post_init__(self):
        settings = self.network.settings
        positions = getattr(settings, "positions", self.window)
        if self.window > positions:
            raise ValueError(f"window={self.window}: the network has {positions} positions")
        if self.tokenizer is not None and self.tokenizer.size > settings.vocabulary:
            raise ValueError(
                f"the tokenizer has {self.tokenizer.size} tokens, and the network"
                f" vocabulary={settings.vocabulary}: they do not belong together"
            )
        if self.too_long not in TOO_LONG:
            raise ValueError(f"too_long={self.too_long!r} must be one of {', '.join(TOO_LONG)}")

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Returns the ids of prompts, on the host.

        Raises:
            ValueError: a prompt is too long and `too_long` is "error".
        """
        return self.tokenizer(prompts, self.window, too_long=self.too_long)

    def encode(self, params: Params, tokens: Tokens) -> Encoded:
        """Returns states and vectors; a pure function for `jit`."""
        b, windows, n = tokens.ids.shape
        there = jnp.asarray(tokens.mask)
        if self.attend_padding:
            # Not the windows that a shorter prompt lacks: they depend on its neighbours.
            there = jnp.broadcast_to(there.any(-1, keepdims=True), there.shape)
        flat = lambda x: jnp.asarray(x).reshape(b * windows, n)
        states = self.network.apply({"params": params}, flat(tokens.ids), flat(there))
        pooled = states.pooled
        if pooled is not None:
            pooled = pooled.reshape(b, windows, -1)[:, 0]
        whole = states.tokens.reshape(b, windows * n, -1)
        return Encoded(whole, there.reshape(b, windows * n), pooled)

    def __call__(self, params: Params, prompts: Sequence[str]) -> Encoded:
        """Returns states and vectors of prompts."""
        return _encode(self, params, self.tokenize(prompts))


@functools.partial(jax.jit, static_argnums=0)
def _encode(encoder: TextEncoder, params: Params, tokens: Tokens) -> Encoded:
    return encoder.encode(params, tokens)


def beside(*parts: Encoded) -> Encoded:
    """Joins the features of each token; the vectors are joined too.

    Raises:
        ValueError: the parts have not as many tokens.
    """
    lengths = [part.tokens.shape[1] for part in parts]
    if len(set(lengths)) > 1:
        raise ValueError(f"encoders that stand side by side have {lengths} tokens; give them the"
                         " same window and the same too_long")  # fmt: skip
    mask = jnp.stack([part.mask for part in parts]).any(0)
    return Encoded(jnp.concatenate([part.tokens for part in parts], -1), mask, _vectors(parts))


def after(*parts: Encoded) -> Encoded:
    """Joins the tokens, narrower ones filled up with zeros; the vectors are joined too."""
    width = max(part.tokens.shape[-1] for part in parts)
    wide = [
        jnp.pad(part.tokens, ((0, 0), (0, 0), (0, width - part.tokens.shape[-1]))) for part in parts
    ]
    mask = jnp.concatenate([part.mask for part in parts], 1)
    return Encoded(jnp.concatenate(wide, 1), mask, _vectors(parts))


def sdxl(clip_l: Encoded, bigg: Encoded) -> Encoded:
    """Returns the condition of SDXL (Podell et al., 2023).

    The features of two encoders side by side, each read before its last layer (`clip_skip=1`,
    `final_norm=False`), and the vector of the second.
    """
    return beside(clip_l, bigg)._replace(pooled=bigg.pooled)


def sd3(clip_l: Encoded, bigg: Encoded, t5: Encoded) -> Encoded:
    """Returns the condition of Stable Diffusion 3 (Esser et al., 2024).

    The two CLIPs side by side as in SDXL, filled up to T5's width, then T5's tokens; and the
    vectors of both CLIPs.
    """
    return after(beside(clip_l, bigg), t5)


def _vectors(parts: Sequence[Encoded]) -> Array | None:
    vectors = [part.pooled for part in parts if part.pooled is not None]
    return jnp.concatenate(vectors, -1) if vectors else None
