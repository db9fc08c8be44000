"""Folders of released pipelines, tiny and random, as diffusers writes them."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdiff.conditioning.loading import (
    OF_SETTINGS,
    image_shapes,
    read_image_settings,
    read_settings,
    text_shapes,
)
from jaxdiff.pipelines import layouts
from jaxdiff.pipelines.saving import save_file
from jaxdiff.pretrained import families, open_tensors, to_theirs
from jaxdiff.pretrained.positions import positions_of
from jaxdiff.pretrained.tables import text as text_tables
from tests.parity.cases import draw

WORDS = ["a", "b", "red", "blue", "cat", "dog", "house"]
SCALED = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}  # fmt: skip
DDIM = {
    "_class_name": "DDIMScheduler", **SCALED, "clip_sample": False, "set_alpha_to_one": False,
    "steps_offset": 1, "prediction_type": "epsilon",
}  # fmt: skip
EULER = {
    "_class_name": "EulerDiscreteScheduler", **SCALED, "timestep_spacing": "leading",
    "steps_offset": 1, "prediction_type": "epsilon",
}  # fmt: skip
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}

VAE = {
    "_class_name": "AutoencoderKL", "block_out_channels": [8, 16], "layers_per_block": 1,
    "in_channels": 3, "out_channels": 3, "norm_num_groups": 4, "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
    "sample_size": 16, "scaling_factor": 0.18215,
}  # fmt: skip
SD3_VAE = {
    **VAE, "use_quant_conv": False, "use_post_quant_conv": False, "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
}  # fmt: skip
UNET = {
    "_class_name": "UNet2DConditionModel", "block_out_channels": [8, 16], "layers_per_block": 1,
    "in_channels": 4, "out_channels": 4, "norm_num_groups": 4, "sample_size": 8,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "cross_attention_dim": 12,
    "attention_head_dim": 2,
}  # fmt: skip
SD3_NETWORK = {
    "_class_name": "SD3Transformer2DModel", "num_layers": 2, "num_attention_heads": 2,
    "attention_head_dim": 8, "in_channels": 4, "out_channels": 4, "patch_size": 2,
    "sample_size": 8, "pos_embed_max_size": 12, "joint_attention_dim": 28,
    "caption_projection_dim": 16, "pooled_projection_dim": 22,
}  # fmt: skip

DUAL = {"num_layers": 3, "dual_attention_layers": [0], "qk_norm": "rms_norm"}
"""The changes that make of Stable Diffusion 3 the medium 3.5."""


def clip(width: int, size: int, projection: int | None = None, **changes: Any) -> dict[str, Any]:
    """Returns the config.json of a CLIP text encoder."""
    kind = "CLIPTextModel" if projection is None else "CLIPTextModelWithProjection"
    return {
        "architectures": [kind], "model_type": "clip_text_model", "vocab_size": size,
        "hidden_size": width, "intermediate_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 16, "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5, "bos_token_id": size - 2, "eos_token_id": size - 1,
        "pad_token_id": size - 1, "projection_dim": projection or 12, **changes,
    }  # fmt: skip


def write_words(folder: Path, pad: str | None = None) -> int:
    """Writes CLIP's tokenizer: bytes, and `WORDS` whole; returns its size."""
    import tokenizers  # noqa: PLC0415 - of the extra `pretrained`

    folder.mkdir(parents=True)
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    words, merges = [*letters, *(letter + "</w>" for letter in letters)], []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append(f"{parts[0]} {parts[1]}")
            parts = [parts[0] + parts[1], *parts[2:]]
            words.append(parts[0])
    words = [*dict.fromkeys(words), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    lines = "\n".join(["#version: 0.2", *dict.fromkeys(merges)])
    (folder / "merges.txt").write_text(lines + "\n")
    config = {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": 16, "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
        "pad_token": pad or "<|endoftext|>",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(words)


def save_tensors(tensors: dict[str, np.ndarray], file: Path) -> None:
    """Writes tensors by key."""
    import safetensors.numpy  # noqa: PLC0415 - of the extra `pretrained`

    safetensors.numpy.save_file(tensors, file, metadata={"format": "pt"})


def write_network(folder: Path, config: dict[str, Any], seed: int = 0) -> None:
    """Writes a network of diffusers' with random weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    network, shape = families.describe(folder / "config.json")
    linear = config.get("use_linear_projection", False)
    # The keys that say which layout is meant.
    kinds = ("encoder.down_blocks.0.resnets.0.conv1.weight", "encoder.down_blocks.0.norm1.gamma")
    blank = dict.fromkeys(kinds, np.zeros(0))
    blank |= {} if linear else {"x.proj_in.weight": np.zeros((1, 1, 1, 1))}
    table = families.table_of(network, blank)
    shapes = jax.eval_shape(
        lambda tree: to_theirs(table, tree), families.network_shapes(network, shape)
    )
    positions = (
        {"pos_embed.pos_embed": positions_of(network)} if "SD3" in config["_class_name"] else {}
    )
    tensors = {**draw(shapes, seed), **positions}
    save_tensors(tensors, folder / "diffusion_pytorch_model.safetensors")


def without_spread(folder: Path) -> None:
    """Takes the spread from a folder's autoencoder: both sides encode the same latents."""
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = {key: np.array(value) for key, value in open_tensors(file).items()}
    name = "quant_conv.bias" if "quant_conv.bias" in tensors else "encoder.conv_out.bias"
    half = len(tensors[name]) // 2
    tensors[name][half:] = -100.0
    tensors[name.replace("bias", "weight")][half:] = 0.0
    save_tensors(tensors, file)


def write_encoder(folder: Path, config: dict[str, Any], seed: int = 0) -> None:
    """Writes a text encoder of transformers' with random weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    settings = read_settings(folder)
    of_t5 = {"t5": text_tables.t5, "umt5": lambda: text_tables.t5(own_distances=True)}
    table = of_t5.get(config["model_type"], text_tables.clip_text)()
    assert type(settings) in OF_SETTINGS
    shapes = jax.eval_shape(lambda tree: to_theirs(table, tree), text_shapes(settings))
    save_tensors(draw(shapes, seed), folder / "model.safetensors")


def write_image_encoder(folder: Path, config: dict[str, Any], seed: int = 0) -> None:
    """Writes an image encoder of CLIP with random weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    shapes = image_shapes(read_image_settings(folder))
    shapes = jax.eval_shape(lambda tree: to_theirs(text_tables.clip_vision(), tree), shapes)
    save_tensors(draw(shapes, seed), folder / "model.safetensors")


def write_index(folder: Path, kind: str, **parts: Any) -> None:
    """Writes model_index.json."""
    index = {"_class_name": kind, "_diffusers_version": "0.31.0", **parts}
    (folder / "model_index.json").write_text(json.dumps(index))


def write_scheduler(folder: Path, scheduler: dict[str, Any]) -> None:
    """Writes the scheduler's config."""
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))


def write_sd(
    folder: Path,
    scheduler: dict[str, Any] = DDIM,
    kind: str = "StableDiffusionPipeline",
    **unet: Any,
) -> Path:
    """Writes Stable Diffusion 1, or with options of the U-Net, 2, or LCM."""
    size = write_words(folder / "tokenizer")
    write_encoder(folder / "text_encoder", clip(12, size), seed=1)
    write_network(folder / "unet", {**UNET, **unet}, seed=2)
    write_network(folder / "vae", VAE, seed=3)
    write_scheduler(folder, scheduler)
    write_index(
        folder,
        kind,
        scheduler=["diffusers", scheduler["_class_name"]],
        text_encoder=["transformers", "CLIPTextModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
        unet=["diffusers", "UNet2DConditionModel"],
        vae=["diffusers", "AutoencoderKL"],
        safety_checker=[None, None],
        feature_extractor=[None, None],
        image_encoder=[None, None],
        requires_safety_checker=False,
    )
    return folder


def write_sdxl(folder: Path, scheduler: dict[str, Any] = EULER) -> Path:
    """Writes SDXL, its tokens padded in two ways."""
    size = write_words(folder / "tokenizer")
    write_words(folder / "tokenizer_2", pad="!")
    write_encoder(folder / "text_encoder", clip(12, size), seed=1)
    second = clip(16, size, 10, hidden_act="gelu")
    write_encoder(folder / "text_encoder_2", second, seed=4)
    unet = {
        **UNET, "cross_attention_dim": 28, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 58,
        "use_linear_projection": True, "transformer_layers_per_block": [1, 2],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    }  # fmt: skip
    write_network(folder / "unet", unet, seed=2)
    write_network(folder / "vae", VAE, seed=3)
    write_scheduler(folder, scheduler)
    write_index(
        folder,
        "StableDiffusionXLPipeline",
        scheduler=["diffusers", scheduler["_class_name"]],
        text_encoder=["transformers", "CLIPTextModel"],
        text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
        tokenizer=["transformers", "CLIPTokenizer"],
        tokenizer_2=["transformers", "CLIPTokenizer"],
        unet=["diffusers", "UNet2DConditionModel"],
        vae=["diffusers", "AutoencoderKL"],
        feature_extractor=[None, None],
        image_encoder=[None, None],
        force_zeros_for_empty_prompt=True,
    )
    return folder


def write_refiner(folder: Path, scheduler: dict[str, Any] = EULER, *, zeros: bool = False) -> Path:
    """Writes SDXL's refiner, which has only the second encoder and reads an aesthetic score."""
    size = write_words(folder / "tokenizer_2", pad="!")
    write_encoder(folder / "text_encoder_2", clip(16, size, 16, hidden_act="gelu"), seed=4)
    unet = {
        **UNET, "cross_attention_dim": 16, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 56,
        "use_linear_projection": True,
    }  # fmt: skip
    write_network(folder / "unet", unet, seed=2)
    write_network(folder / "vae", VAE, seed=3)
    write_scheduler(folder, scheduler)
    write_index(
        folder,
        "StableDiffusionXLImg2ImgPipeline",
        scheduler=["diffusers", scheduler["_class_name"]],
        text_encoder=[None, None],
        text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
        tokenizer=[None, None],
        tokenizer_2=["transformers", "CLIPTokenizer"],
        unet=["diffusers", "UNet2DConditionModel"],
        vae=["diffusers", "AutoencoderKL"],
        feature_extractor=[None, None],
        image_encoder=[None, None],
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=zeros,
    )
    return folder


def write_t5_words(folder: Path) -> int:
    """Writes T5's tokenizer, whose pieces are `WORDS` and letters; returns its size."""
    import tokenizers  # noqa: PLC0415 - of the extra `pretrained`

    folder.mkdir(parents=True)
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS)]
    pieces += sorted(set("abcdefghijklmnopqrstuvwxyz") - set(pieces))
    scores = [(piece, -float(i > 3) - float(len(piece) == 1)) for i, piece in enumerate(pieces)]
    learned = tokenizers.Tokenizer(tokenizers.models.Unigram(scores, unk_id=2))
    learned.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    learned.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    learned.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512,
        "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(pieces)


def write_sd3(
    folder: Path, scheduler: dict[str, Any] = FLOW, *, t5: bool = True, **network: Any
) -> Path:
    """Writes Stable Diffusion 3, with T5 or without; with options of the transformer, 3.5."""
    size = write_words(folder / "tokenizer")
    write_words(folder / "tokenizer_2", pad="!")
    write_encoder(folder / "text_encoder", clip(12, size, 12), seed=1)
    write_encoder(folder / "text_encoder_2", clip(16, size, 10, hidden_act="gelu"), seed=4)
    third: dict[str, Any] = {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    if t5:
        words = write_t5_words(folder / "tokenizer_3")
        config = {
            "architectures": ["T5EncoderModel"], "model_type": "t5", "vocab_size": words,
            "d_model": 28, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2,
            "feed_forward_proj": "gated-gelu", "layer_norm_epsilon": 1e-6,
            "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20,
            "decoder_start_token_id": 0, "tie_word_embeddings": False,
        }  # fmt: skip
        write_encoder(folder / "text_encoder_3", config, seed=5)
        third["text_encoder_3"] = ["transformers", "T5EncoderModel"]
        third["tokenizer_3"] = ["transformers", "PreTrainedTokenizerFast"]
    write_network(folder / "transformer", {**SD3_NETWORK, **network}, seed=2)
    write_network(folder / "vae", SD3_VAE, seed=3)
    write_scheduler(folder, scheduler)
    write_index(
        folder,
        "StableDiffusion3Pipeline",
        scheduler=["diffusers", scheduler["_class_name"]],
        text_encoder=["transformers", "CLIPTextModelWithProjection"],
        text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
        tokenizer=["transformers", "CLIPTokenizer"],
        tokenizer_2=["transformers", "CLIPTokenizer"],
        transformer=["diffusers", "SD3Transformer2DModel"],
        vae=["diffusers", "AutoencoderKL"],
        feature_extractor=[None, None],
        image_encoder=[None, None],
        **third,
    )
    return folder


def write_single(pipeline: Any, file: Path) -> None:
    """Writes a pipeline's weights as its authors would, with keys that are to be ignored.

    The first CLIP of Stable Diffusion 3 loses its projection, which such files do not have.
    """
    text = pipeline.weights["text"]
    if pipeline.parts.family == "StableDiffusion3":
        inner = text["network"]
        first = {name: tree for name, tree in inner["clip_l"].items() if name != "projection"}
        text = {**text, "network": {**inner, "clip_l": first}}
    save_file(pipeline.with_weights(text=text), file)
    tensors = {key: np.asarray(value) for key, value in open_tensors(file).items()}
    if pipeline.parts.family != "StableDiffusion3":
        ignored = {"model_ema.decay": np.ones(1), "alphas_cumprod": np.ones(1000)}
        tensors |= {key: value.astype(np.float32) for key, value in ignored.items()}
    # The last layer of Stable Diffusion 2's encoder.
    name = f"{layouts.CLIP_OPEN}transformer.resblocks"
    last = {k.replace(".1.", ".23.", 1): v for k, v in tensors.items() if f"{name}.1." in k}
    save_tensors(tensors | last, file)
