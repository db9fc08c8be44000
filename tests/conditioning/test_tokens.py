"""Tokenizers from files, and prompts as windows."""

import json

import numpy as np
import pytest

from jaxdiff.conditioning.tokens import Tokenizer, read_tokenizer


def spell(prompts):
    """One token a letter: a is 10."""
    return [[10 + ord(letter) - ord("a") for letter in prompt] for prompt in prompts]


LETTERS = Tokenizer(spell, bos=1, eos=2, pad=0, size=40)


def test_a_window():
    """Catches special tokens that are missing, padding in the mask, a text that just fits."""
    ids, mask = LETTERS(["ab", "", "abcd"], 6)
    assert ids.tolist() == [[[1, 10, 11, 2, 0, 0]], [[1, 2, 0, 0, 0, 0]], [[1, 10, 11, 12, 13, 2]]]
    assert mask.tolist() == [[[True] * 4 + [False] * 2], [[True] * 2 + [False] * 4], [[True] * 6]]


def test_chunks():
    """Catches tokens that are lost or there twice at a border, and chunks without special tokens.

    The windows that a short prompt lacks hold no text, and the mask says so.
    """
    ids, mask = LETTERS(["abcdefg", "ab"], 5, too_long="chunk")
    assert ids.tolist() == [
        [[1, 10, 11, 12, 2], [1, 13, 14, 15, 2], [1, 16, 2, 0, 0]],
        [[1, 10, 11, 2, 0], [1, 2, 0, 0, 0], [1, 2, 0, 0, 0]],
    ]
    assert mask.sum(-1).tolist() == [[5, 5, 3], [4, 0, 0]]
    assert LETTERS([], 5, too_long="chunk").ids.shape == (0, 1, 5)


def test_truncation():
    """Catches an end token that is cut off with the text."""
    ids, _ = LETTERS(["abcdefg"], 5, too_long="truncate")
    assert ids.tolist() == [[[1, 10, 11, 12, 2]]]


def test_without_a_start_token():
    """Catches a place in the window that is kept for a token that there is not (T5)."""
    ids, _ = Tokenizer(spell, bos=None, eos=2, pad=0, size=40)(["abc"], 4)
    assert ids.tolist() == [[[10, 11, 12, 2]]]


@pytest.mark.parametrize(
    ("prompts", "window", "too_long", "said"),
    [
        (["ab", "abcde"], 6, "error", r"5 tokens and window=6 has place for 4.*'abcde'"),
        (["ab"], 6, "cut", "too_long='cut' must be one of error, chunk, truncate"),
        (["ab"], 2, "chunk", "window=2 has no place for text"),
        ("ab", 6, "error", "prompts='ab' must be a list"),
    ],
)
def test_prompts_that_do_not_fit(prompts, window, too_long, said):
    """Catches a prompt that is cut without a word, by a single token."""
    with pytest.raises(ValueError, match=said):
        LETTERS(prompts, window, too_long=too_long)


def write_clip(folder, *left_out):
    """A vocabulary of letters, two merges, and CLIP's two special tokens."""
    words = [*"abcde!1", *(letter + "</w>" for letter in "abcde!1"), "ab", "abc</w>"]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words) if word not in left_out}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\na b\nab c</w>\n")
    return vocabulary


def test_clip_from_two_files(tmp_path):
    """Catches upper case, words and signs in one, merges across words, digits taken together."""
    ids = write_clip(tmp_path)
    tokenizer = read_tokenizer(tmp_path, "clip")
    words = {number: word for word, number in ids.items()}
    read = lambda text: [words[i] for i in tokenizer.encode([text])[0]]
    assert read(" ABC  d!\n11") == ["abc</w>", "d</w>", "!</w>", "1</w>", "1</w>"]
    assert read("abcd") == ["ab", "c", "d</w>"]
    assert tokenizer.pad == tokenizer.eos == ids["<|endoftext|>"]
    assert tokenizer.bos == ids["<|startoftext|>"]
    assert tokenizer.size == len(ids)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "!"}}))
    assert read_tokenizer(tmp_path, "clip").pad == ids["!"]


def test_what_a_file_adds_by_itself_is_left_out(tmp_path):
    """Catches special tokens twice, and a file's own cutting and padding (as MiniLM's has)."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4, "b": 5}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    backend.enable_truncation(3)
    backend.enable_padding(length=8)
    backend.save(str(tmp_path / "tokenizer.json"))
    ids, mask = read_tokenizer(tmp_path, "bert")(["a b a b c"], 8)
    assert ids[0, 0].tolist() == [1, 4, 5, 4, 5, 3, 2, 0]
    assert mask[0, 0].tolist() == [True] * 7 + [False]


def test_files_that_are_not_there(tmp_path):
    """Catches a tokenizer of another family, a vocabulary without its end, and damage."""
    with pytest.raises(ValueError, match=r"no tokenizer\.json, nor vocab\.json"):
        read_tokenizer(tmp_path, "clip")
    with pytest.raises(ValueError, match=r"there is no tokenizer\.json$"):
        read_tokenizer(tmp_path, "t5")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="does not have a tokenizer"):
        read_tokenizer(tmp_path, "t5")
    tokenizers = pytest.importorskip("tokenizers")
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0}, "<unk>"))
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="has no token '</s>'"):
        read_tokenizer(tmp_path, "t5")


def test_masks_are_booleans():
    """Catches a mask of numbers, which attention would add up."""
    assert LETTERS(["a"], 4).mask.dtype == np.bool_
