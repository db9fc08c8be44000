"""The tokens of each word of a prompt, and which tokens of two prompts belong together."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Kind = Literal["replace", "refine"]
SIGNS = ",.;:!?\"'()"


class Spans(NamedTuple):
    """The words of a prompt with the places of their tokens, among `length` tokens."""

    words: Sequence[tuple[str, Sequence[int]]]
    length: int

    def of(self, word: str) -> list[int]:
        """Returns all places of a word; punctuation beside it is ignored.

        Raises:
            ValueError: it is not in the prompt.
        """
        plain = lambda text: text.lower().strip(SIGNS)
        found = [n for other, places in self.words if plain(other) == plain(word) for n in places]
        if not found:
            prompt = " ".join(other for other, _ in self.words)
            raise ValueError(f"there is no word {word!r} in {prompt!r}")
        return found

    @property
    def end(self) -> int:
        """Returns the place behind the last word."""
        return self.words[-1][1][-1] + 1 if self.words else 1


def aligned(
    source: Spans, target: Spans, kind: Kind | None = None
) -> tuple[Float[np.ndarray, "k k"], Float[np.ndarray, " k"]]:
    """Returns which token of `source` each one of `target` is, and 1 for those that are one.

    A column of the matrix has the shares of a target's token: of a word of other many tokens, each
    gets all of them, divided by its own number.

    Args:
        source, target: of two prompts, read by one encoder.
        kind: "replace": each word is that at its place, so that both have as many words; "refine":
            words that both have are the same, in their order (Hertz et al. 2022, sections 3.1 and
            3.2). None for the first if it can be.

    Raises:
        ValueError: "replace", and the numbers of words differ.
    """
    words = [[word.lower() for word, _ in each.words] for each in (source, target)]
    same = len(words[0]) == len(words[1])
    if kind == "replace" and not same:
        raise ValueError(
            f"kind='replace': {len(words[0])} words and {len(words[1])}; take kind='refine'"
        )
    if kind == "replace" or (kind is None and same):
        pairs = [(i, i) for i in range(len(words[0]))]
    else:
        blocks = SequenceMatcher(None, *words, autojunk=False).get_matching_blocks()
        pairs = [(b.a + i, b.b + i) for b in blocks for i in range(b.size)]
    matrix, replaced = (
        np.zeros((source.length,) * 2, np.float32),
        np.zeros(source.length, np.float32),
    )
    first = source.words[0][1][0] if source.words else 1
    one = [(n, n) for n in range(first)]
    # Behind the text: the end token, and padding.
    last = source.length - 1
    one += [(min(source.end + n - target.end, last), n) for n in range(target.end, source.length)]
    for i, j in pairs:
        before, after = source.words[i][1], target.words[j][1]
        if len(before) == len(after):
            one += zip(before, after, strict=True)
        else:
            matrix[np.ix_(before, after)] = 1 / len(after)
            replaced[list(after)] = 1
    for before, after in one:
        matrix[before, after], replaced[after] = 1, 1
    return matrix, replaced


def scales(target: Spans, weights: Mapping[str, float]) -> Float[np.ndarray, " k"]:
    """Returns the factor of each token's map: that of its word, or 1.

    Raises:
        ValueError: a word is not in the prompt.
    """
    found = np.ones(target.length, np.float32)
    for word, weight in weights.items():
        found[target.of(word)] = weight
    return found
