"""BERT, CLIP and T5 beside transformers."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.networks.text.bert import BERT, BERTSettings
from jaxdiff.networks.text.clip import (
    CLIPText,
    CLIPTextSettings,
    CLIPVision,
    CLIPVisionSettings,
)
from jaxdiff.networks.text.t5 import T5Encoder, T5Settings
from jaxdiff.pretrained.tables import text as tables
from tests.parity.cases import Case, Ours, Peer

VOCABULARY = 50
SIZES = {"width": 24, "heads": 3, "layers": 2, "mlp_width": 40}
PEER_SIZES = {
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 40,
}


def batch(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns two prompts of n tokens, the end of the second padding, with an end token in each."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, VOCABULARY - 1, (2, n))
    mask = np.ones((2, n), bool)
    mask[1, -(-2 * n // 3) :] = False
    ids[0, -1] = ids[1, mask[1].sum() - 1 :] = VOCABULARY - 1
    return ids, mask


def ours(network: Any, table: Any, lengths: tuple[int, ...], masked: bool = True) -> Ours:
    """Makes our side: token states and, where there is one, the vector, for each length.

    States of padding are left out: they are no one's business.
    """
    batches = {n: batch(n) for n in lengths}

    def apply(params):
        out = {}
        for n, (ids, mask) in batches.items():
            given = mask if masked else np.ones_like(mask)
            states = network.apply({"params": params}, jnp.asarray(ids), jnp.asarray(given))
            out[f"tokens_{n}"] = jnp.where(given[..., None], states.tokens, 0)
            if states.pooled is not None:
                out[f"pooled_{n}"] = states.pooled
        return out

    ids, mask = batches[lengths[0]]
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(ids), jnp.asarray(mask))
    return Ours(apply, shapes["params"], table)


def theirs(make: Any, lengths: tuple[int, ...], read: Any, masked: bool = True) -> Peer:
    """Makes their side; `read(outputs, mask) -> (tokens, pooled)`."""
    import torch

    module = make()

    def run():
        out = {}
        for n in lengths:
            ids, mask = batch(n)
            given = torch.tensor(mask if masked else np.ones_like(mask))
            options = {"attention_mask": given.long()} if masked else {}
            done = module(input_ids=torch.tensor(ids), output_hidden_states=True, **options)
            tokens, pooled = read(done, given)
            out[f"tokens_{n}"] = torch.where(given[..., None], tokens, 0)
            if pooled is not None:
                out[f"pooled_{n}"] = pooled
        return out

    return Peer(module, run)


def bert_peer(lengths, read):
    import transformers

    config = transformers.BertConfig(
        vocab_size=VOCABULARY, max_position_embeddings=20, layer_norm_eps=1e-3, **PEER_SIZES
    )
    return theirs(lambda: transformers.BertModel(config), lengths, read)


def mean_pooled(done, mask):
    """Returns the mean over the text, at length one (Reimers & Gurevych, 2019)."""
    import torch

    states, kept = done.last_hidden_state, mask[..., None].float()
    return states, torch.nn.functional.normalize((states * kept).sum(1) / kept.sum(1))


def bert_cases():
    make = functools.partial(BERTSettings, VOCABULARY, positions=20, eps=1e-3, **SIZES)
    variants = {
        "mean of unit length": (make(normalize=True), mean_pooled, (9,), True),
        "pooler": (
            make(pooling="pooler"),
            lambda done, _: (done.last_hidden_state, done.pooler_output),
            (1, 2, 20),
            False,
        ),
        "first token": (
            make(pooling="cls"),
            lambda done, _: (done.last_hidden_state, done.last_hidden_state[:, 0]),
            (3,),
            False,
        ),
    }
    for name, (sizes, read, lengths, recorded) in variants.items():
        yield Case(
            "BERT",
            name,
            "transformers",
            functools.partial(ours, BERT(sizes), tables.bert(), lengths),
            functools.partial(bert_peer, lengths, read),
            gradients=recorded,
            recorded=recorded,
        )


def clip_text_peer(lengths, read, masked, kind, **options):
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=12,
        bos_token_id=0,
        pad_token_id=1,
        **{**PEER_SIZES, "eos_token_id": VOCABULARY - 1, **options},
    )
    make = lambda: getattr(transformers, kind)(config)
    return theirs(make, lengths, read, masked)


def clip_text_cases():
    make = functools.partial(
        CLIPTextSettings, VOCABULARY, positions=12, eos=VOCABULARY - 1, **SIZES
    )
    plain, projected = "CLIPTextModel", "CLIPTextModelWithProjection"
    last = lambda done, _: (done.last_hidden_state, done.pooler_output)
    penultimate = lambda done, _: (done.hidden_states[-2], done.text_embeds)
    gelu = {"hidden_act": "gelu", "projection_dim": 10}
    variants = {
        "quick GELU, last states": (make(), plain, last, (9,), False, {}, True),
        "quick GELU, with a mask": (make(), plain, last, (1, 2, 12), True, {}, False),
        "quick GELU, end token by its old number": (
            make(), plain, last, (5,), False, {"eos_token_id": 2}, False,
        ),
        "GELU, states before the last layer, projection": (
            make(activation="gelu", projection=10, clip_skip=1, final_norm=False),
            projected, penultimate, (7,), False, gelu, True,
        ),
        "GELU, last states, projection": (
            make(activation="gelu", projection=10),
            projected, lambda done, _: (done.last_hidden_state, done.text_embeds),
            (3, 12), True, gelu, False,
        ),
    }  # fmt: skip
    for name, (sizes, kind, read, lengths, masked, options, recorded) in variants.items():
        table = tables.clip_text("text_model" if sizes.projection else "")
        yield Case(
            "CLIP text",
            name,
            "transformers",
            functools.partial(ours, CLIPText(sizes), table, lengths, masked),
            functools.partial(clip_text_peer, lengths, read, masked, kind, **options),
            gradients=recorded,
            recorded=recorded,
        )


def images(size: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((2, size, size, 3)).astype(np.float32)


def vision_ours(network, table):
    x = jnp.asarray(images(network.settings.size))

    def apply(params):
        states = network.apply({"params": params}, x)
        return {"tokens": states.tokens, "pooled": states.pooled}

    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    return Ours(apply, shapes["params"], table)


def vision_peer(skip, **options):
    import torch
    import transformers

    config = transformers.CLIPVisionConfig(
        image_size=12, patch_size=4, projection_dim=10, **PEER_SIZES, **options
    )
    module = transformers.CLIPVisionModelWithProjection(config)

    def run():
        x = torch.tensor(images(12)).permute(0, 3, 1, 2)
        done = module(pixel_values=x, output_hidden_states=True)
        return {"tokens": done.hidden_states[-1 - skip], "pooled": done.image_embeds}

    return Peer(module, run)


def vision_cases():
    for name, act, skip, recorded in (
        ("quick GELU", "quick_gelu", 0, True),
        ("GELU, states before the last layer", "gelu", 1, False),
    ):
        settings = CLIPVisionSettings(12, 4, projection=10, activation=act, clip_skip=skip, **SIZES)
        yield Case(
            "CLIP vision",
            name,
            "transformers",
            functools.partial(vision_ours, CLIPVision(settings), tables.clip_vision()),
            functools.partial(vision_peer, skip, hidden_act=act),
            gradients=recorded,
            recorded=recorded,
        )


def t5_peer(lengths, masked):
    import transformers

    config = transformers.T5Config(
        vocab_size=VOCABULARY,
        d_model=24,
        d_kv=5,
        num_heads=3,
        d_ff=40,
        num_layers=2,
        feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=8,
        relative_attention_max_distance=20,
    )
    read = lambda done, _: (done.last_hidden_state, None)
    return theirs(lambda: transformers.T5EncoderModel(config), lengths, read, masked)


def t5_cases():
    settings = T5Settings(VOCABULARY, 24, 2, 3, 5, 40, buckets=8, max_distance=20)
    variants = {
        "gated GELU, with a mask": ((11,), True, True),
        "gated GELU, one token to 150": ((1, 2, 150), True, False),
        "gated GELU, without a mask": ((6,), False, False),
    }
    for name, (lengths, masked, recorded) in variants.items():
        yield Case(
            "T5 encoder",
            name,
            "transformers",
            functools.partial(ours, T5Encoder(settings), tables.t5(), lengths, masked),
            functools.partial(t5_peer, lengths, masked),
            gradients=recorded,
            recorded=recorded,
        )


def cases() -> list[Case]:
    """Returns the encoders' cases."""
    return [*bert_cases(), *clip_text_cases(), *vision_cases(), *t5_cases()]
