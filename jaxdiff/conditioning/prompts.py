"""Text encoders: a tokenizer with a network, and the combination of several encodings."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from jaxdiff.conditioning.tokens import TOO_LONG, TokenIds, Tokenizer
from jaxdiff.typing import Cond, Condition, Params


class Encoded(NamedTuple):
    """The states of tokens, their mask (True for text), and one pooled vector."""

    tokens: Float[Array, "b n d"]
    mask: Bool[Array, "b n"]
    pooled: Float[Array, "b p"] | None

    def condition(self) -> Condition:
        """Returns the condition with the states as its value."""
        return Condition(self.tokens, self.mask, self.pooled)

    def cond(self, name: str = "text") -> Cond:
        """Returns the condition under its name, for a denoiser."""
        return {name: self.condition()}


@dataclass(frozen=True)
class TextPipeline:
    """A tokenizer, and a network `(ids [b, n], mask [b, n]) -> States`.

    Attributes:
        tokenizer: None if the caller tokenizes.
        window: the number of tokens per call of the network; shorter prompts are padded.
        attend_padding: whether padding counts as text, as in the training of Stable Diffusion's
            U-Nets and of Flux. Otherwise attention ignores it, and `Encoded.mask` is False for it.
        too_long: "error", "chunk" or "truncate", for prompts longer than the window. Chunks have
            special tokens of their own and are encoded separately; their states are concatenated,
            and the pooled vector is that of the first chunk.

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
                f" vocabulary={settings.vocabulary}: a network needs its own tokenizer"
            )
        if self.too_long not in TOO_LONG:
            raise ValueError(f"too_long={self.too_long!r} must be one of {', '.join(TOO_LONG)}")

    def tokenize(self, prompts: Sequence[str]) -> TokenIds:
        """Returns the ids of prompts, on the host.

        Raises:
            ValueError: a prompt is too long and `too_long` is "error".
        """
        return self.tokenizer(prompts, self.window, too_long=self.too_long)

    def encode(self, params: Params, tokens: TokenIds) -> Encoded:
        """Returns states and pooled vectors; a pure function for `jit`."""
        windows = tokens.ids.shape[1]
        mask = jnp.asarray(tokens.mask)
        if self.attend_padding:
            # Windows that only a longer prompt of the batch fills stay masked.
            mask = jnp.broadcast_to(mask.any(-1, keepdims=True), mask.shape)
        each = lambda x: rearrange(x, "b w n -> (b w) n")
        states = self.network.apply({"params": params}, each(jnp.asarray(tokens.ids)), each(mask))
        pooled = states.pooled
        if pooled is not None:
            pooled = rearrange(pooled, "(b w) p -> b w p", w=windows)[:, 0]
        joined = rearrange(states.tokens, "(b w) n d -> b (w n) d", w=windows)
        return Encoded(joined, rearrange(mask, "b w n -> b (w n)"), pooled)

    def __call__(self, params: Params, prompts: Sequence[str]) -> Encoded:
        """Returns states and pooled vectors of prompts."""
        return encode_once(self, params, self.tokenize(prompts))


@functools.partial(jax.jit, static_argnums=0)
def encode_once(encoder: TextPipeline, params: Params, tokens: TokenIds) -> Encoded:
    """Returns states and pooled vectors; inside of a program, prompts of one shape share a trace.

    A prompt, a negative one and the empty one are three uses of a network that is long to trace.
    """
    return encoder.encode(params, tokens)


def concat_features(*parts: Encoded) -> Encoded:
    """Concatenates the features of each token, and the pooled vectors.

    Raises:
        ValueError: the parts have different numbers of tokens.
    """
    lengths = [part.tokens.shape[1] for part in parts]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"encoders whose features are concatenated have {lengths} tokens; give them the same"
            " window and the same too_long"
        )
    mask = jnp.stack([part.mask for part in parts]).any(0)
    return Encoded(jnp.concatenate([part.tokens for part in parts], -1), mask, _vectors(parts))


def concat_tokens(*parts: Encoded) -> Encoded:
    """Concatenates the tokens, narrower ones padded with zeros, and the pooled vectors."""
    width = max(part.tokens.shape[-1] for part in parts)
    wide = [
        jnp.pad(part.tokens, ((0, 0), (0, 0), (0, width - part.tokens.shape[-1]))) for part in parts
    ]
    mask = jnp.concatenate([part.mask for part in parts], 1)
    return Encoded(jnp.concatenate(wide, 1), mask, _vectors(parts))


def sdxl(clip_l: Encoded, bigg: Encoded) -> Encoded:
    """Returns the condition of SDXL (Podell et al., 2023).

    Concatenates the features of two encoders, each read before its last layer (`clip_skip=1`,
    `final_norm=False`); the pooled vector is that of the second.
    """
    return concat_features(clip_l, bigg)._replace(pooled=bigg.pooled)


def sd3(clip_l: Encoded, bigg: Encoded, t5: Encoded) -> Encoded:
    """Returns the condition of Stable Diffusion 3 (Esser et al., 2024).

    The features of both CLIPs are concatenated and padded to T5's width; T5's tokens follow. The
    pooled vectors of both CLIPs are concatenated.
    """
    return concat_tokens(concat_features(clip_l, bigg), t5)


def _vectors(parts: Sequence[Encoded]) -> Array | None:
    vectors = [part.pooled for part in parts if part.pooled is not None]
    return jnp.concatenate(vectors, -1) if vectors else None
