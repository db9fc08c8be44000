"""Prompts to conditions, alone and side by side, and encoders from folders."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdiff.conditioning.conditions import Conditions
from jaxdiff.conditioning.loading import load_image_encoder, load_text_encoder
from jaxdiff.conditioning.prompts import (
    Encoded,
    TextPipeline,
    concat_features,
    concat_tokens,
    sd3,
    sdxl,
)
from jaxdiff.conditioning.words import Words
from jaxdiff.networks.text.bert import BERT, BERTSettings
from jaxdiff.networks.text.clip import CLIPText, CLIPTextSettings
from jaxdiff.networks.text.transformer import States
from jaxdiff.pretrained import save
from jaxdiff.pretrained.tables import text as tables
from tests.conditioning.test_tokens import LETTERS, write_clip
from tests.support.seeded import drawn


class Echo:
    """A network whose states are what it was given, and whose vector is its first two tokens."""

    settings = SimpleNamespace(vocabulary=40, positions=6)

    def apply(self, variables, ids, mask):
        del variables
        return States(jnp.stack([ids, mask], -1).astype(jnp.float32), ids[:, :2])


def encoder(**options):
    return TextPipeline(Echo(), LETTERS, **{"window": 5, "too_long": "chunk", **options})


def test_chunks_are_encoded_apart():
    """Catches chunks out of order or in one window, and a vector that is not the first one's."""
    long = encoder()({}, ["abcdefg", "xy"])
    tokens, mask = LETTERS(["abcdefg", "xy"], 5, too_long="chunk")
    np.testing.assert_array_equal(long.tokens[..., 0], tokens.reshape(2, 15))
    np.testing.assert_array_equal(long.tokens[..., 1], mask.reshape(2, 15))
    np.testing.assert_array_equal(long.mask, mask.reshape(2, 15))
    assert long.pooled.tolist() == [[1, 10], [1, 33]]


def test_padding_as_text():
    """Catches padding that is hidden although the network was trained to see it.

    A window that only a neighbour needs is hidden all the same.
    """
    seen = encoder(attend_padding=True)({}, ["abcdefg", "xy"])
    assert seen.mask.tolist() == [[True] * 15, [True] * 5 + [False] * 10]
    np.testing.assert_array_equal(seen.tokens[..., 1], seen.mask)


def test_conditions():
    """Catches arrays in each other's place, and a vector that the encoder does not have."""
    encoded = encoder()({}, ["ab"])
    condition = encoded.cond()["text"]
    assert condition.value is encoded.tokens
    assert condition.mask is encoded.mask
    assert condition.pooled is encoded.pooled
    assert encoded._replace(pooled=None).condition().pooled is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": 7}, "window=7: the network has 6 positions"),
        ({"too_long": "cut"}, "too_long='cut' must be one of"),
        ({"tokenizer": LETTERS.__class__(LETTERS.encode, 1, 2, 0, 41)}, "has 41 tokens"),
    ],
)
def test_parts_that_do_not_belong_together(options, said):
    """Catches tokens and positions beyond the tables, which would be read as NaN."""
    given = {"network": Echo(), "tokenizer": LETTERS, "window": 5, **options}
    with pytest.raises(ValueError, match=said):
        TextPipeline(**given)


def encoded(n, width, pooled, start=0.0):
    tokens = start + jnp.arange(n * width, dtype=jnp.float32).reshape(1, n, width)
    vector = None if pooled is None else jnp.full((1, pooled), start)
    return Encoded(tokens, jnp.arange(n)[None] < 2, vector)


def test_sdxl_and_sd3():
    """Catches an order of features, tokens or vectors other than that of the released weights."""
    clip_l, bigg, t5 = encoded(3, 2, 2, 1.0), encoded(3, 3, 3, 100.0), encoded(4, 9, None, 1000.0)
    two = sdxl(clip_l, bigg)
    assert two.tokens[0, 1].tolist() == [3, 4, 103, 104, 105]
    assert two.pooled.tolist() == [[100.0] * 3]
    three = sd3(clip_l, bigg, t5)
    assert three.tokens.shape == (1, 7, 9)
    assert three.tokens[0, 1].tolist() == [3, 4, 103, 104, 105, 0, 0, 0, 0]
    np.testing.assert_array_equal(three.tokens[0, 3:], t5.tokens[0])
    assert three.pooled.tolist() == [[1.0] * 2 + [100.0] * 3]
    assert three.mask.tolist() == [[True, True, False, True, True, False, False]]
    assert concat_tokens(t5, t5).pooled is None
    with pytest.raises(ValueError, match=r"have \[3, 4\] tokens; give them the same window"):
        concat_features(clip_l, t5)


CONFIG = {
    "architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model",
    "vocab_size": 18, "max_position_embeddings": 6, "hidden_size": 8, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 8, "hidden_act": "gelu",
    "layer_norm_eps": 1e-4, "projection_dim": 3, "eos_token_id": 2,
}  # fmt: skip
IDS = jnp.zeros((1, 6), int)
READ = CLIPTextSettings(18, 6, 8, 2, 2, 8, "gelu", 1e-4, eos=17, projection=3)


@pytest.fixture
def pipeline(tmp_path):
    """A folder as diffusers writes it: encoder and tokenizer side by side."""
    folder, words = tmp_path / "text_encoder_2", tmp_path / "tokenizer_2"
    folder.mkdir()
    words.mkdir()
    write_clip(words)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    params = drawn(CLIPText(READ), IDS, IDS == 0)
    save(tables.clip_text(), params, folder / "model.safetensors")
    return folder, params


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_folder(pipeline):
    """Catches a field of config.json that is not read, and an option that is not applied."""
    folder, params = pipeline
    loaded, weights = load_text_encoder(folder)
    assert loaded.network.settings == READ
    assert (loaded.window, loaded.attend_padding, loaded.too_long) == (6, True, "error")
    same(weights, params)
    loaded, weights = load_text_encoder(
        folder, clip_skip=1, final_norm=False, window=5, param_dtype=jnp.bfloat16
    )
    assert (loaded.network.settings.clip_skip, loaded.window) == (1, 5)
    assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {jnp.dtype("bfloat16")}


def test_the_whole_of_clip(pipeline):
    """Catches settings of text and image exchanged in a file that has both."""
    folder, params = pipeline
    # Within the parts, a width of the projection means nothing.
    parts = {**CONFIG, "projection_dim": 77}
    whole = {"model_type": "clip", "projection_dim": 3, "text_config": parts}
    whole["vision_config"] = {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": 4, "image_size": 8, "patch_size": 4,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(whole))
    same(load_text_encoder(folder)[1], params)
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit.*\n.*: vision_model"):
        load_image_encoder(folder)


def test_open_clip_names(pipeline):
    """Catches fused weights of which only transformers' names are known."""
    folder, params = pipeline
    save(tables.open_clip_text(), params, folder / "model.safetensors")
    same(load_text_encoder(folder)[1], params)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"model_type": "gpt2"}, {}, "unknown encoder, model_type='gpt2'; known: bert, clip"),
        ({"hidden_size": 12}, {}, r"does not fit.*\n.*of another shape.*is \[8\], not \[12\]"),
        ({"num_hidden_layers": 3}, {}, r"missing from it: text_model\.encoder\.layers\.2"),
        ({"num_attention_heads": 3}, {}, "num_heads=3 does not divide the 8"),
        ({"hidden_act": "swish"}, {}, "activation='swish' must be one of"),
        ({"vocab_size": 17}, {}, "has 18 tokens, and the network vocabulary=17"),
        ({}, {"skip": 1}, "CLIPTextSettings has no 'skip'"),
        ({}, {"window": 9}, "window=9: the network has 6 positions"),
    ],
)
def test_folders_that_do_not_fit(pipeline, change, options, said):
    """Catches weights of another network that are read as far as they go."""
    folder, _ = pipeline
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    with pytest.raises(ValueError, match=said):
        load_text_encoder(folder, **options)


def test_files_that_are_not_there(pipeline):
    """Catches an error that does not name the file."""
    folder, _ = pipeline
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"model\.safetensors' is cut off"):
        load_text_encoder(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ValueError, match="feed_forward_proj='relu' must be gated"):
        load_text_encoder(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"config\.json' has no field 'vocab_size'"):
        load_text_encoder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json' is not JSON"):
        load_text_encoder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no file '.*config\.json'"):
        load_text_encoder(folder)


def test_a_sentence_transformer(tmp_path):
    """Catches a pooling, a length or a window of the folder that is not read."""
    settings = BERTSettings(6, 9, 2, 8, 1, 2, 8, eps=1e-3, pooling="cls", normalize=True)
    config = {
        "model_type": "bert", "vocab_size": 6, "max_position_embeddings": 9, "type_vocab_size": 2,
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "hidden_act": "gelu", "layer_norm_eps": 1e-3,
    }  # fmt: skip
    modules = [
        {"type": f"x.{kind}", "path": kind} for kind in ("Transformer", "Pooling", "Normalize")
    ]
    (tmp_path / "Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    for name, value in {
        "config.json": config,
        "modules.json": modules,
        "Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": 7},
    }.items():
        (tmp_path / name).write_text(json.dumps(value))
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    backend.save(str(tmp_path / "tokenizer.json"))
    params = drawn(BERT(settings), IDS, IDS == 0)
    save(tables.bert("bert"), params, tmp_path / "model.safetensors")
    loaded, weights = load_text_encoder(tmp_path)
    assert loaded.network.settings == settings
    assert (loaded.window, loaded.attend_padding) == (7, False)
    same(weights, params)
    (tmp_path / "Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ValueError, match=r"pooling_mode_max_tokens.*known is one of"):
        load_text_encoder(tmp_path)


def test_the_empty_prompt_is_no_condition():
    """Fails if guidance would lead away from an empty text, or a full one is dropped."""
    conditions = Conditions(("text",), {"text": Words(8, 4)}, dropout=0.1)
    checked = conditions.check(3, {"text": ["a cat", "", "  "]})
    found = conditions.encode({}, checked)["text"]
    np.testing.assert_array_equal(found.keep, [True, False, False])
    assert conditions.encode({}, conditions.check(2, {"text": "a cat"}))["text"].keep is None
    released = dataclasses.replace(conditions, learned_null=False)
    assert released.encode({}, released.check(1, {"text": ""}))["text"].keep is None
