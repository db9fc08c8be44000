"""Prompts with weights, breaks and changes on the way, in the notation of AUTOMATIC1111.

    (a word) [a word]     1.1 times as strong, and 1/1.1 times
    (a word:1.3)          1.3 times as strong
    \\( \\)                 brackets themselves
    BREAK                 what follows is in a further window
    [cat:dog:0.5]         "cat" for half of the steps, then "dog"; [:dog:0.5] and [cat::0.5]

Weights multiply the states of a word's tokens; then the mean of the states is restored.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdiff.conditioning.tokens import TokenIds, Tokenizer

STRONGER = 1.1
BREAK = "BREAK"
PARTS = re.compile(
    r"\\[()\[\]\\]|[(\[]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|[)\]]|[^\\()\[\]:]+|[\\:]"
)
CHANGE = re.compile(r"\[([^\[\]:]*):(?:([^\[\]:]*):)?\s*(\d+\.?\d*|\.\d+)\s*\]")


class Piece(NamedTuple):
    """A part of a prompt, and how strong it is."""

    text: str
    weight: float


class WeightedIds(NamedTuple):
    """Token ids with a weight for each; see `TokenIds`."""

    ids: np.ndarray
    mask: np.ndarray
    weights: np.ndarray


def weighted(prompt: str) -> list[Piece]:
    """Returns the pieces of a prompt with their weights; an open bracket reaches to the end."""
    pieces: list[Piece] = []
    open_at: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(first: int, factor: float) -> None:
        pieces[first:] = [Piece(text, weight * factor) for text, weight in pieces[first:]]

    for found in PARTS.finditer(prompt):
        part, number = found.group(0), found.group(1)
        if part[0] == "\\" and len(part) > 1:
            pieces.append(Piece(part[1], 1.0))
        elif part in open_at:
            open_at[part].append(len(pieces))
        elif number is not None and open_at["("]:
            multiply(open_at["("].pop(), float(number))
        elif part == ")" and open_at["("]:
            multiply(open_at["("].pop(), STRONGER)
        elif part == "]" and open_at["["]:
            multiply(open_at["["].pop(), 1 / STRONGER)
        else:
            pieces.append(Piece(part, 1.0))
    for first in open_at["("]:
        multiply(first, STRONGER)
    for first in open_at["["]:
        multiply(first, 1 / STRONGER)
    return _joined(pieces)


def phases(prompt: str) -> list[tuple[float, str]]:
    """Returns the prompts that stand for a prompt one after another, from which share of the steps.

    Raises:
        ValueError: a change is not between 0 and 1.
    """
    starts = {0.0, *(float(found[2]) for found in CHANGE.findall(prompt))}
    if wrong := [start for start in starts if not 0 <= start < 1]:
        raise ValueError(f"a prompt changes at {wrong[0]}: write a share of the steps, 0.5")

    def at(start: float) -> str:
        def chosen(found: re.Match) -> str:
            # [dog:0.5] adds a word, as [:dog:0.5] does.
            before, after = found[1], found[2]
            before, after = ("", before) if after is None else (before, after)
            return after if start >= float(found[3]) else before

        return CHANGE.sub(chosen, prompt)

    return [(start, at(start)) for start in sorted(starts)]


def tokenized(
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    window: int,
    windows: int,
    *,
    emphasis: bool,
    cut: bool = False,
) -> WeightedIds:
    """Returns the tokens of prompts in a number of windows, each with its special tokens.

    A window that a prompt does not fill is that of an empty text, which counts. With `cut`, what a
    window has no room for is left out, up to the next break.

    Raises:
        ValueError: a prompt needs more windows.
    """
    before = [] if tokenizer.bos is None else [tokenizer.bos]
    room = window - len(before) - 1
    shape = (len(prompts), windows, window)
    ids, mask = np.full(shape, tokenizer.pad, np.int32), np.zeros(shape, bool)
    weights = np.ones(shape, np.float32)
    for row, prompt in enumerate(prompts):
        filled = _windows(tokenizer, prompt, room, emphasis, cut)
        if len(filled) > windows:
            raise ValueError(
                f"a prompt needs {len(filled)} windows of {room} tokens, and there are {windows}:"
                f" {prompt[:60]!r}..."
            )
        for i, part in enumerate([*filled, *[[]] * (windows - len(filled))]):
            whole = [*before, *(token for token, _ in part), tokenizer.eos]
            ids[row, i, : len(whole)] = whole
            mask[row, i, : len(whole)] = True
            weights[row, i, len(before) : len(before) + len(part)] = [w for _, w in part]
    return WeightedIds(ids, mask, weights)


def emphasized(
    states: Float[Array, "b m d"], weights: Float[Array | np.ndarray, "b windows n"]
) -> Float[Array, "b m d"]:
    """Returns states times their tokens' weights, with the mean of each window as before."""
    b, windows, n = weights.shape
    apart = states.reshape(b, windows, n, -1)
    scaled = apart * jnp.asarray(weights, states.dtype)[..., None]
    mean = lambda a: a.astype(jnp.float32).mean((2, 3), keepdims=True)
    # Where all weights are 1, nothing changes, not even by rounding.
    plain = (jnp.asarray(weights) == 1).all(-1)[..., None, None]
    factor = jnp.where(plain, 1, mean(apart) / jnp.where(plain, 1, mean(scaled)))
    return (scaled * factor.astype(states.dtype)).reshape(states.shape)


def without_weights(tokens: WeightedIds) -> TokenIds:
    """Returns the tokens alone."""
    return TokenIds(tokens.ids, tokens.mask)


def _windows(
    tokenizer: Tokenizer, prompt: str, room: int, emphasis: bool, cut: bool
) -> list[list[tuple[int, float]]]:
    """Returns the tokens of each window with their weights."""
    pieces = weighted(prompt) if emphasis else [Piece(prompt, 1.0)]
    texts = [part for piece in pieces for part in _between_breaks(piece, emphasis)]
    encoded = tokenizer.encode([piece.text for piece in texts if piece is not None])
    windows: list[list[tuple[int, float]]] = [[]]
    ids = iter(encoded)
    for piece in texts:
        if piece is None:
            windows.append([])
            continue
        for token in next(ids):
            if len(windows[-1]) == room:
                if cut:
                    break
                windows.append([])
            windows[-1].append((token, piece.weight))
    return windows


def _between_breaks(piece: Piece, emphasis: bool) -> list[Piece | None]:
    """Returns the pieces between breaks, and None for each of these."""
    if not emphasis:
        return [piece]
    first, *others = re.split(rf"\s*\b{BREAK}\b\s*", piece.text)
    found: list[Piece | None] = [Piece(first, piece.weight)]
    for text in others:
        found += [None, Piece(text, piece.weight)]
    return found


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Returns the pieces with neighbours of one weight as one."""
    found: list[Piece] = []
    for text, weight in pieces:
        if found and found[-1].weight == weight:
            found[-1] = Piece(found[-1].text + text, weight)
        else:
            found.append(Piece(text, weight))
    return found or [Piece("", 1.0)]
