"""Folders of released pipelines of images, classes and PixArt: tiny and random, as diffusers'."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxdiff.pretrained import open_tensors
from tests.support.released import (
    SCALED,
    VAE,
    save_tensors,
    write_encoder,
    write_image_encoder,
    write_index,
    write_network,
    write_scheduler,
    write_sd,
    write_t5_words,
)

UNET2D = {
    "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 3, "out_channels": 3,
    "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4,
    "attention_head_dim": 4, "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
DDPM = {
    "_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_start": 0.0001,
    "beta_end": 0.02, "beta_schedule": "linear", "variance_type": "fixed_large",
    "clip_sample": True, "prediction_type": "epsilon",
}  # fmt: skip
LINEAR_DDIM = {
    "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "clip_sample": True,
    "set_alpha_to_one": True, "steps_offset": 0, "prediction_type": "epsilon",
}  # fmt: skip
DDIM = {**LINEAR_DDIM, "clip_sample": False}
CONSISTENCY = {
    "_class_name": "CMStochasticIterativeScheduler", "num_train_timesteps": 40,
    "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "s_noise": 1.0, "rho": 7.0,
    "clip_denoised": True,
}  # fmt: skip
DPM = {
    "_class_name": "DPMSolverMultistepScheduler", "num_train_timesteps": 1000,
    "beta_schedule": "linear", "prediction_type": "epsilon",
}  # fmt: skip
TRANSFORMER = {
    "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4,
    "out_channels": 8, "sample_size": 4, "patch_size": 2, "norm_elementwise_affine": False,
    "attention_bias": True, "activation_fn": "gelu-approximate",
}  # fmt: skip

WAN_VAE = {
    "_class_name": "AutoencoderKLWan", "base_dim": 8, "dim_mult": [1, 2], "z_dim": 4,
    "num_res_blocks": 1, "temperal_downsample": [True], "attn_scales": [], "dropout": 0.0,
    "latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.5, 0.8, 1.1, 2.0],
    "scale_factor_temporal": 2, "scale_factor_spatial": 2,
}  # fmt: skip
FLOW = {
    "_class_name": "UniPCMultistepScheduler", "num_train_timesteps": 1000,
    "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0,
}  # fmt: skip
VISION = {
    "architectures": ["CLIPVisionModel"], "model_type": "clip_vision_model", "hidden_size": 20,
    "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8, "hidden_act": "gelu", "projection_dim": 12,
}  # fmt: skip
PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 16},
    "crop_size": {"height": 16, "width": 16}, "do_resize": True, "do_center_crop": True,
    "do_rescale": True, "do_normalize": True, "resample": 3, "rescale_factor": 1 / 255,
    "do_convert_rgb": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip
LCM = {
    "_class_name": "LCMScheduler", **SCALED, "prediction_type": "epsilon",
    "original_inference_steps": 50, "clip_sample": False, "set_alpha_to_one": True,
    "steps_offset": 0, "timestep_spacing": "leading",
}  # fmt: skip


def write_unconditional(folder: Path, scheduler: dict[str, Any] = DDPM) -> Path:
    """Writes DDPMPipeline, or with its scheduler DDIMPipeline."""
    kind = scheduler["_class_name"]
    write_network(folder / "unet", UNET2D, seed=2)
    write_scheduler(folder, scheduler)
    index = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", kind]}
    write_index(folder, kind.replace("Scheduler", "Pipeline"), **index)
    return folder


def write_consistency(folder: Path, scheduler: dict[str, Any] = CONSISTENCY) -> Path:
    """Writes ConsistencyModelPipeline with six classes, of ADM's blocks."""
    unet = {
        **UNET2D, "num_class_embeds": 6, "resnet_time_scale_shift": "scale_shift",
        "downsample_type": "resnet", "upsample_type": "resnet", "attn_norm_num_groups": 4,
        "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    }  # fmt: skip
    write_network(folder / "unet", unet, seed=2)
    write_scheduler(folder, scheduler)
    kind = scheduler["_class_name"]
    index = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", kind]}
    write_index(folder, "ConsistencyModelPipeline", **index)
    return folder


def write_dit(folder: Path, scheduler: dict[str, Any] = DDIM, **options: Any) -> Path:
    """Writes DiTPipeline, of a thousand classes: the pipeline there knows the number of none."""
    network = {
        "_class_name": "DiTTransformer2DModel", **TRANSFORMER, "num_embeds_ada_norm": 1000,
        "norm_type": "ada_norm_zero", "norm_eps": 1e-6, **options,
    }  # fmt: skip
    write_network(folder / "transformer", network, seed=2)
    # Each block there has the embeddings, all alike.
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = {key: np.array(value) for key, value in open_tensors(file).items()}
    first = {key: value for key, value in tensors.items() if "blocks.0.norm1.emb" in key}
    copies = {key.replace("blocks.0", "blocks.1"): value for key, value in first.items()}
    save_tensors({**tensors, **copies}, file)
    write_network(folder / "vae", VAE, seed=3)
    write_scheduler(folder, scheduler)
    write_index(
        folder,
        "DiTPipeline",
        scheduler=["diffusers", scheduler["_class_name"]],
        transformer=["diffusers", "DiTTransformer2DModel"],
        vae=["diffusers", "AutoencoderKL"],
    )
    return folder


def write_lcm(folder: Path, scheduler: dict[str, Any] = LCM) -> Path:
    """Writes a latent consistency model, whose network reads its guidance scale."""
    return write_sd(folder, scheduler, "LatentConsistencyModelPipeline", time_cond_proj_dim=8)


def t5(words: int, **changes: Any) -> dict[str, Any]:
    """Returns the config.json of a T5 encoder."""
    return {
        "architectures": ["T5EncoderModel"], "model_type": "t5", "vocab_size": words,
        "d_model": 28, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2,
        "feed_forward_proj": "gated-gelu", "layer_norm_epsilon": 1e-6,
        "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20,
        "decoder_start_token_id": 0, "tie_word_embeddings": False, **changes,
    }  # fmt: skip


def write_wan(folder: Path, scheduler: dict[str, Any] = FLOW, *, from_image: bool = False) -> Path:
    """Writes Wan 2.1, text to video, or image to video of pictures of 16 pixels."""
    words = write_t5_words(folder / "tokenizer")
    config = t5(words, model_type="umt5", architectures=["UMT5EncoderModel"])
    write_encoder(folder / "text_encoder", config, seed=5)
    network = {
        "_class_name": "WanTransformer3DModel", "num_layers": 2, "num_attention_heads": 2,
        "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "patch_size": [1, 2, 2],
        "text_dim": 28, "freq_dim": 16, "ffn_dim": 32, "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads", "eps": 1e-6,
    }  # fmt: skip
    more = {}
    if from_image:
        network |= {"in_channels": 10, "image_dim": 20, "added_kv_proj_dim": 24}
        write_image_encoder(folder / "image_encoder", VISION, seed=6)
        (folder / "image_processor").mkdir()
        (folder / "image_processor" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
        more["image_encoder"] = ["transformers", "CLIPVisionModel"]
        more["image_processor"] = ["transformers", "CLIPImageProcessor"]
    write_network(folder / "transformer", network, seed=2)
    write_network(folder / "vae", WAN_VAE, seed=3)
    write_scheduler(folder, scheduler)
    write_index(
        folder,
        "WanImageToVideoPipeline" if from_image else "WanPipeline",
        scheduler=["diffusers", scheduler["_class_name"]],
        text_encoder=["transformers", "UMT5EncoderModel"],
        tokenizer=["transformers", "PreTrainedTokenizerFast"],
        transformer=["diffusers", "WanTransformer3DModel"],
        vae=["diffusers", "AutoencoderKLWan"],
        **more,
    )
    return folder


def write_pixart(
    folder: Path, scheduler: dict[str, Any] = DPM, kind: str = "Alpha", *, sized: bool = False
) -> Path:
    """Writes PixArt-α, or by its kind "Sigma"; `sized`, as of 1024 pixels, which reads its size."""
    words = write_t5_words(folder / "tokenizer")
    config = t5(words)
    write_encoder(folder / "text_encoder", config, seed=5)
    network = {
        "_class_name": "PixArtTransformer2DModel", **TRANSFORMER, "cross_attention_dim": 16,
        "caption_channels": 28, "norm_type": "ada_norm_single", "norm_eps": 1e-6,
        "interpolation_scale": 1, "use_additional_conditions": False,
    }  # fmt: skip
    if sized:
        network |= {"sample_size": 128, "use_additional_conditions": None}
        network |= {"attention_head_dim": 12, "cross_attention_dim": 24}
    write_network(folder / "transformer", network, seed=2)
    write_network(folder / "vae", VAE, seed=3)
    write_scheduler(folder, scheduler)
    write_index(
        folder,
        f"PixArt{kind}Pipeline",
        scheduler=["diffusers", scheduler["_class_name"]],
        text_encoder=["transformers", "T5EncoderModel"],
        tokenizer=["transformers", "PreTrainedTokenizerFast"],
        transformer=["diffusers", "PixArtTransformer2DModel"],
        vae=["diffusers", "AutoencoderKL"],
    )
    return folder
