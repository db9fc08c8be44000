"""Folders of an autoencoder and of an encoder of text, tiny and random, and a recipe for both."""

import json
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdiff.networks.autoencoder import AutoencoderKL, AutoencoderSettings
from jaxdiff.networks.conditioning import JointEmbedding, read_text
from jaxdiff.networks.inputs import Inputs
from jaxdiff.networks.text.bert import BERT, BERTSettings
from jaxdiff.pretrained import save
from jaxdiff.pretrained.tables import text as tables
from jaxdiff.pretrained.tables.autoencoder import autoencoder
from tests.support.tiny import tiny_config

SIZES = {
    "channels": (4, 8),
    "layers_per_block": 1,
    "latent_channels": 2,
    "image_channels": 1,
    "middle_attention": False,
    "num_groups": 2,
    "scale": 0.5,
    "shift": 0.25,
}
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "digit", "a", *"0123456789"]
TEXT = BERTSettings(len(WORDS), positions=6, width=8, layers=1, heads=2, mlp_width=8, types=2)
SETTINGS = (
    f"BERTSettings(vocabulary={len(WORDS)}, positions=6, width=8, layers=1, heads=2, mlp_width=8)"
)


def drawn(network, *inputs, seed=0):
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)["params"]
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.standard_normal(a.shape).astype("float32") / 3, shapes)


def write_autoencoder(folder, seed=0):
    """As diffusers writes it; returns the parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = AutoencoderSettings(**SIZES)
    params = drawn(AutoencoderKL(settings), jnp.zeros((1, 2, 2, 1)), seed=seed)
    save(autoencoder(2), params, folder / "diffusion_pytorch_model.safetensors")
    config = {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [4, 8],
        "layers_per_block": 1,
        "latent_channels": 2,
        "in_channels": 1,
        "out_channels": 1,
        "mid_block_add_attention": False,
        "norm_num_groups": 2,
        "scaling_factor": 0.5,
        "shift_factor": 0.25,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return params


def write_text(folder, seed=0):
    """A BERT whose words are the digits; returns the parameters."""
    import tokenizers  # noqa: PLC0415 - of the extra `pretrained`

    folder.mkdir(parents=True, exist_ok=True)
    words = {word: i for i, word in enumerate(WORDS)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.save(str(folder / "tokenizer.json"))
    ids = jnp.zeros((1, 6), int)
    params = drawn(BERT(TEXT), ids, ids == 0, seed=seed)
    save(tables.bert(), params, folder / "model.safetensors")
    config = {
        "model_type": "bert", "vocab_size": len(WORDS), "max_position_embeddings": 6,
        "type_vocab_size": 2, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return params


class Reader(nn.Module):
    """A network that reads tokens, their mask and their vector, and compiles in a second."""

    inputs: Inputs = Inputs(text_features=8, pooled_features=8)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, time, cond, dropout_keys=None):
        tokens, mask = read_text(self.inputs, cond, len(x), self.dtype)
        mask = jnp.ones(tokens.shape[:2]) if mask is None else mask.astype(jnp.float32)
        mean = (mask[..., None] * tokens).sum(1) / mask.sum(1, keepdims=True)
        joint = JointEmbedding(
            self.inputs.joint(), 8, self.dtype, self.inputs.learned_null, name="joint"
        )
        vector = joint(cond, len(x))
        told = nn.Dense(8)(mean) + vector + time[:, None] / 1000
        return nn.Dense(x.shape[-1])(nn.silu(nn.Dense(8)(x) + told[:, None, None]))


def latent_text_config(folder=None):
    """Digits by captions, in latents of 4×4; without a folder, the weights are not named."""
    config = tiny_config()
    where = lambda name: "" if folder is None else str(folder / name)
    config.transforms = ("Caption(template=['digit {}', 'a digit {}'])",)
    config.codec = {"name": "Latents", "autoencoder": SIZES}
    config.conditions = ("text",)
    config.encoders = {"text": {"name": "TextEncoder", "settings": SETTINGS}}
    config.weights = {"network": "", "codec": where("vae"), "text": where("text")}
    config.condition_dropout = 0.3
    config.network = {"name": "tests.support.frozen_parts:Reader", "inputs": {"learned_null": True}}
    config.objective, config.time_sampling = "Denoising", "Uniform"
    config.optimizer = {
        "name": "sgd",
        "momentum": 0.9,
        "learning_rate": 0.1,
        "schedule": "constant",
        "clip_norm": 0.0,
    }
    config.batch_size = 8
    config.train.steps = 4
    config.train.log_every = 2
    config.train.checkpoint_every = 2
    return config
