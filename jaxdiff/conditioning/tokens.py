"""Reads tokenizers from local files, and splits prompts into windows of token ids."""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from jaxdiff.files import read_json

FILES = ("tokenizer.json", "vocab.json", "merges.txt")
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")

TOO_LONG = ("error", "chunk", "truncate")

CLIP_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
"""CLIP's words: runs of letters, single digits, runs of signs (Radford et al., 2021)."""


class Special(NamedTuple):
    """Special tokens of a family: before a text, after it, and as padding."""

    bos: str | None
    eos: str
    pad: str


SPECIAL = {
    "bert": Special("[CLS]", "[SEP]", "[PAD]"),
    "clip": Special("<|startoftext|>", "<|endoftext|>", "<|endoftext|>"),
    "t5": Special(None, "</s>", "<pad>"),
}


class TokenIds(NamedTuple):
    """Token ids of prompts, in windows; every prompt has as many windows as the longest one."""

    ids: Int[np.ndarray, "b windows n"]
    mask: Bool[np.ndarray, "b windows n"]
    """False for padding, and for windows that a shorter prompt does not have."""


@dataclass(frozen=True)
class Tokenizer:
    """Maps texts to token ids.

    Attributes:
        encode: returns the ids of each text, without special tokens.
        bos: the id before a text, or None.
        eos: the id after a text.
        pad: the id of padding.
        size: the number of ids.
    """

    encode: Callable[[Sequence[str]], list[list[int]]]
    bos: int | None
    eos: int
    pad: int
    size: int

    def __call__(self, prompts: Sequence[str], window: int, *, too_long: str = "error") -> TokenIds:
        """Tokenizes prompts into windows of `window` tokens, special tokens included.

        `too_long` decides about a prompt that does not fit: "error" raises, "chunk" continues it
        in further windows, each with its special tokens, and "truncate" keeps its beginning.

        Raises:
            ValueError: a prompt is too long and `too_long` is "error"; `too_long` is unknown; the
                window has no place for text.
        """
        if isinstance(prompts, str):
            raise ValueError(f"prompts={prompts!r} must be a list of texts")
        if too_long not in TOO_LONG:
            raise ValueError(f"too_long={too_long!r} must be one of {', '.join(TOO_LONG)}")
        before = [] if self.bos is None else [self.bos]
        room = window - len(before) - 1
        if room < 1:
            raise ValueError(f"window={window} has no place for text between the special tokens")
        texts = self.encode(list(prompts))
        for prompt, ids in zip(prompts, texts, strict=True):
            if len(ids) > room and too_long == "error":
                raise ValueError(
                    f"a prompt has {len(ids)} tokens and window={window} has place for {room};"
                    " too_long='chunk' continues it in further windows, too_long='truncate' cuts"
                    f" it: {prompt[:60]!r}..."
                )
        count = 1
        if too_long == "chunk":
            count = max((-(-len(ids) // room) for ids in texts), default=1) or 1
        windows = np.full((len(texts), count, window), self.pad, np.int32)
        mask = np.zeros(windows.shape, bool)
        for row, ids in enumerate(texts):
            for i in range(count):
                part = ids[i * room : (i + 1) * room]
                filled = [*before, *part, self.eos]
                windows[row, i, : len(filled)] = filled
                mask[row, i, : len(filled)] = i == 0 or bool(part)
        return TokenIds(windows, mask)


def read_tokenizer(folder: str | os.PathLike, family: str, pad: str = "") -> Tokenizer:
    """Reads a tokenizer from tokenizer.json, or CLIP's from vocab.json and merges.txt.

    `pad` is the padding token where the files say another one, or nothing.

    Raises:
        ValueError: the files are missing or damaged; a special token is not in the vocabulary.
    """
    folder = Path(folder)
    try:
        backend = _backend(folder, family)
    except ImportError:
        raise
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{str(folder)!r} does not have a tokenizer: {error}") from None
    backend.no_truncation()
    backend.no_padding()
    special = SPECIAL[family]
    pad = pad or _pad_in_settings(folder) or special.pad
    ids = {}
    for name in (special.bos, special.eos, pad):
        ids[name] = None if name is None else backend.token_to_id(name)
        if name is not None and ids[name] is None:
            raise ValueError(f"the tokenizer in {str(folder)!r} has no token {name!r}")

    def encode(prompts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in backend.encode_batch(list(prompts), add_special_tokens=False)]

    size = backend.get_vocab_size()
    return Tokenizer(encode, ids[special.bos], ids[special.eos], ids[pad], size)


def with_words(tokenizer: Tokenizer, words: Sequence[tuple[str, int]], first: int) -> Tokenizer:
    """Returns the tokenizer with words of one's own, each of a number of ids from `first` on."""
    ids, size = {}, first
    for word, count in words:
        ids[word] = list(range(size, size + count))
        size += count
    # A word of letters is none within a longer one.
    edge = lambda letter: r"\b" if letter.isalnum() else ""
    longest = sorted(ids, key=len, reverse=True)
    choices = "|".join(edge(w[0]) + re.escape(w) + edge(w[-1]) for w in longest)
    pattern = re.compile(f"({choices})")

    def encode(prompts: Sequence[str]) -> list[list[int]]:
        # Text, word, text, ..., text.
        pieces = [pattern.split(prompt) for prompt in prompts]
        texts = iter(tokenizer.encode([text for each in pieces for text in each[::2]]))
        read = lambda i, piece: ids[piece] if i % 2 else next(texts)
        return [[n for i, piece in enumerate(each) for n in read(i, piece)] for each in pieces]

    return replace(tokenizer, encode=encode, size=size)


def fingerprint(folder: str | os.PathLike) -> str:
    """Returns a hash of a tokenizer's files."""
    names = (*FILES, *SETTINGS)
    files = [file for name in names if (file := Path(folder) / name).exists()]
    digests = b"".join(hashlib.blake2b(file.read_bytes()).digest() for file in files)
    return hashlib.blake2b(digests, digest_size=16).hexdigest()


def _backend(folder: Path, family: str) -> Any:
    try:
        import tokenizers  # noqa: PLC0415 - an extra
    except ImportError:
        raise ImportError('texts need tokenizers: pip install "jaxdiff[pretrained]"') from None
    complete, vocabulary, merges = (folder / name for name in FILES)
    if complete.exists():
        return tokenizers.Tokenizer.from_file(str(complete))
    if family != "clip" or not (vocabulary.exists() and merges.exists()):
        pair = ", nor vocab.json with merges.txt" if family == "clip" else ""
        raise ValueError(f"there is no tokenizer.json{pair}")
    model = tokenizers.models.BPE.from_file(
        str(vocabulary),
        str(merges),
        unk_token="<|endoftext|>",
        continuing_subword_prefix="",
        end_of_word_suffix="</w>",
    )
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = tokenizers.normalizers.Sequence(
        [
            tokenizers.normalizers.NFC(),
            tokenizers.normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
            tokenizers.normalizers.Lowercase(),
        ]
    )
    words = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(CLIP_WORDS), behavior="removed", invert=True
    )
    as_bytes = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([words, as_bytes])
    backend.add_special_tokens([SPECIAL["clip"].bos, SPECIAL["clip"].eos])
    return backend


def _pad_in_settings(folder: Path) -> str | None:
    """Returns the padding token of the folder's settings, or None; SDXL's second one is "!"."""
    for name in SETTINGS:
        if (folder / name).exists():
            pad = read_json(folder / name, dict).get("pad_token")
            if pad:
                return pad["content"] if isinstance(pad, dict) else pad
    return None
