"""Tokenizers and whole folders of checkpoints, as transformers writes and reads them."""

import json

import jax
import numpy as np
import pytest

from jaxdiff.conditioning.loading import load_image_encoder, load_text_encoder
from jaxdiff.conditioning.tokens import read_tokenizer
from jaxdiff.networks.text.images import clip_pixels, encode_images
from jaxdiff.networks.text.t5 import distance_buckets
from tests.parity.cases.minilm import SENTENCES, folder

pytestmark = pytest.mark.parity

SIZES = {
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 40,
}


def test_minilm_ids():
    """Catches special tokens twice or not at all, and the file's own padding or cutting."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(folder())
    ours = read_tokenizer(folder(), "bert")(SENTENCES, 256, too_long="truncate")
    for i, sentence in enumerate(SENTENCES):
        ids = theirs(sentence, truncation=True, max_length=256)["input_ids"]
        assert ours.ids[i, 0, ours.mask[i, 0]].tolist() == ids, sentence


def train_clip_vocabulary(path):
    """Learns a small byte-level vocabulary from the sentences, in CLIP's two files."""
    tokenizers = pytest.importorskip("tokenizers")
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    learned = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    learned.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(" ", "removed"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=sorted(alphabet), end_of_word_suffix="</w>"
    )
    learned.train_from_iterator([s.lower() for s in SENTENCES], trainer)
    merges = json.loads(learned.to_str())["model"]["merges"]
    words = [*sorted(alphabet), *(letter + "</w>" for letter in sorted(alphabet))]
    words += [word for merge in merges if (word := "".join(merge)) not in words]
    words = [*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"]
    (path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (path / "merges.txt").write_text("\n".join(lines) + "\n")
    return len(words)


def read_id(path, token):
    return json.loads((path / "vocab.json").read_text()).get(token)


@pytest.mark.parametrize("pad", [None, "!"])
def test_clip_ids(tmp_path, pad):
    """Catches other rules for words, no lower case, another padding token.

    Where "!" is the padding, transformers reads one in a text as padding too; we, and those who
    trained with it, do not.
    """
    transformers = pytest.importorskip("transformers")
    train_clip_vocabulary(tmp_path)
    options = {} if pad is None else {"pad_token": pad}
    if pad:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path, **options)
    ours = read_tokenizer(tmp_path, "clip")(SENTENCES, 77, too_long="truncate")
    expected = theirs(
        list(SENTENCES), padding="max_length", max_length=77, truncation=True, return_tensors="np"
    )
    as_text = ours.mask[:, 0] & (expected["input_ids"] == read_id(tmp_path, pad))
    assert as_text.sum() == (0 if pad is None else "".join(SENTENCES).count("!"))
    np.testing.assert_array_equal(np.where(as_text, 0, ours.ids[:, 0]), expected["input_ids"])
    np.testing.assert_array_equal(ours.mask[:, 0], expected["attention_mask"])
    assert len({tuple(row) for row in ours.ids[:, 0].tolist()}) == len(SENTENCES)


def train_t5_vocabulary(path):
    """Learns a small vocabulary of pieces from the sentences."""
    tokenizers = pytest.importorskip("tokenizers")
    learned = tokenizers.Tokenizer(tokenizers.models.Unigram())
    learned.normalizer = tokenizers.normalizers.NFKC()
    learned.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>"
    )
    learned.train_from_iterator(SENTENCES, trainer)
    learned.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    learned.save(str(path / "tokenizer.json"))
    return learned.get_vocab_size()


def test_t5_ids(tmp_path):
    """Catches an end token that is missing or there twice, and a start token, which T5 has not."""
    transformers = pytest.importorskip("transformers")
    train_t5_vocabulary(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token="<pad>", eos_token="</s>"
    )
    ours = read_tokenizer(tmp_path, "t5")(SENTENCES, 64, too_long="truncate")
    expected = theirs(
        list(SENTENCES), padding="max_length", max_length=64, truncation=True, return_tensors="np"
    )
    np.testing.assert_array_equal(ours.ids[:, 0], expected["input_ids"])
    np.testing.assert_array_equal(ours.mask[:, 0], expected["attention_mask"])


PROMPTS = ["a red bicycle", "naïve café", ""]


def check_text(folder, module, *, masked, read, **options):
    torch = pytest.importorskip("torch")
    encoder, params = load_text_encoder(folder, window=14, **options)
    tokens = encoder.tokenize(PROMPTS)
    ours = encoder(params, PROMPTS)
    mask = torch.tensor(tokens.mask[:, 0]).long()
    with torch.no_grad():
        theirs = module.float().eval()(
            input_ids=torch.tensor(tokens.ids[:, 0]).long(),
            output_hidden_states=True,
            **({"attention_mask": mask} if masked else {}),
        )
    states, pooled = read(theirs)
    kept = np.asarray(ours.mask)
    np.testing.assert_allclose(ours.tokens[kept], states.numpy()[kept], atol=1e-4)
    if pooled is None:
        assert ours.pooled is None
    else:
        np.testing.assert_allclose(ours.pooled, pooled.numpy(), atol=1e-4)


def test_a_pipeline_of_sdxl(tmp_path):
    """Catches settings of config.json that are not read, and a tokenizer of the wrong folder."""
    transformers = pytest.importorskip("transformers")
    (tmp_path / "tokenizer_2").mkdir()
    size = train_clip_vocabulary(tmp_path / "tokenizer_2")
    config = transformers.CLIPTextConfig(
        vocab_size=size, max_position_embeddings=16, hidden_act="gelu", projection_dim=10,
        bos_token_id=size - 2, eos_token_id=2, pad_token_id=1, layer_norm_eps=1e-2, **SIZES,
    )  # fmt: skip
    module = transformers.CLIPTextModelWithProjection(config)
    module.save_pretrained(tmp_path / "text_encoder_2")
    check_text(
        tmp_path / "text_encoder_2",
        module,
        masked=False,
        read=lambda out: (out.hidden_states[-2], out.text_embeds),
        clip_skip=1,
        final_norm=False,
    )


@pytest.mark.parametrize("kind", ["T5EncoderModel", "T5ForConditionalGeneration"])
def test_t5_in_shards_and_half_precision(tmp_path, kind):
    """Catches shards that are left out, bfloat16, and a decoder that is in the way."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config = transformers.T5Config(
        vocab_size=train_t5_vocabulary(tmp_path), d_model=24, d_kv=5, d_ff=40, num_layers=2,
        num_heads=3, feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-2,
        relative_attention_num_buckets=8, relative_attention_max_distance=6,
        decoder_start_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    whole = getattr(transformers, kind)(config).to(torch.bfloat16)
    whole.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    module = whole if kind == "T5EncoderModel" else whole.get_encoder()
    check_text(tmp_path, module, masked=True, read=lambda out: (out.last_hidden_state, None))


def test_an_image_encoder_out_of_the_whole_of_clip(tmp_path):
    """Catches the parts of CLIP's config.json and file exchanged, and other pixels."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config = transformers.CLIPConfig(
        text_config={**SIZES, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 2},
        vision_config={**SIZES, "image_size": 12, "patch_size": 4, "hidden_act": "gelu"},
        projection_dim=10,
    )
    module = transformers.CLIPModel(config).eval()
    module.save_pretrained(tmp_path)
    network, params = load_image_encoder(tmp_path)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 12, 12, 3)).astype(np.uint8)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12}
    )
    pixels = processor(list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        theirs = module.get_image_features(pixel_values=pixels).pooler_output.numpy()
    ours = encode_images(network, params, images.astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(ours.pooled, theirs, atol=1e-4)


@pytest.mark.parametrize("shape", [(40, 30), (20, 31), (12, 50)])
def test_pixels(shape):
    """Catches another filter, a resize of the longer side, another crop or normalization.

    The peer rounds to whole pixel values after the resize: 1/255 of the range, over a deviation.
    """
    transformers = pytest.importorskip("transformers")
    y, x = np.mgrid[: shape[0], : shape[1]] / 8
    images = np.stack([np.sin(y), np.cos(x), np.sin(x + y)], -1)[None].astype(np.float32)
    bytes_ = np.round((images + 1) * 127.5).astype(np.uint8)
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    )
    theirs = processor(list(bytes_), return_tensors="np")["pixel_values"].transpose(0, 2, 3, 1)
    ours = jax.device_get(clip_pixels(bytes_.astype(np.float32) / 127.5 - 1, 16))
    if shape[0] < 16:
        assert np.abs(ours - theirs).max() < 0.2
    else:
        assert np.abs(ours - theirs).max() < 2 / 255 / 0.26


def test_all_distances_of_t5():
    """Catches a class of distances that rounds to another side than the trained weights expect."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    attention = transformers.models.t5.modeling_t5.T5Attention
    for buckets, most in ((32, 128), (8, 20), (64, 512)):
        n = 1200
        position = torch.arange(n)[None, :] - torch.arange(n)[:, None]
        theirs = attention._relative_position_bucket(position, True, buckets, most)
        np.testing.assert_array_equal(distance_buckets(n, buckets, most), theirs.numpy())
