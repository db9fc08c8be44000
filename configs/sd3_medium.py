"""Stable Diffusion 3 medium (Esser et al. 2024) on captioned images: needs accelerators.

2.0 G parameters on latents of 16 channels, by the states of two CLIPs and of T5 and by the CLIPs'
vectors; a straight path between data and noise, times from a logit-normal distribution, the noise
shifted by 3 as for 1024×1024. Weights are read from the hub, or from folders:

    --config.data.folder=images --config.weights.codec=vae --config.weights.text.t5=t5
    --config.weights.text.clip_l=clip --config.weights.text.bigg=openclip

Differences from the original: squares only, in one stage, and the three encoders of a text are
dropped together.
"""

from jaxdiff import config as defaults

HUB = "stabilityai/stable-diffusion-3-medium-diffusers"


def get_config():
    config = defaults.default()
    config.data = {
        "name": "image_folder",
        "folder": "",
        "captions": True,
        "shape": (1024, 1024, 3),
        "num_classes": 0,
    }
    config.transforms = ("Resize(size=1024)", "CenterCrop(size=1024)", "RandomFlip")
    config.codec = {"name": "Latents", "autoencoder": "sd3_vae", "dtype": "bfloat16"}
    config.conditions = ("text",)
    config.encoders = {
        "text": {
            "name": "SD3",
            "clip_l": {
                "name": "TextEncoder",
                "settings": "CLIPTextSettings(clip_skip=1, final_norm=False, projection=768)",
                "tokenizer": f"{HUB}/tokenizer",
                "dtype": "bfloat16",
            },
            "bigg": {
                "name": "TextEncoder",
                "settings": "openclip_bigg_14",
                "tokenizer": f"{HUB}/tokenizer_2",
                "dtype": "bfloat16",
            },
            "t5": {
                "name": "TextEncoder",
                "settings": "t5_v1_1_xxl",
                "tokenizer": f"{HUB}/tokenizer_3",
                "window": 77,
                "dtype": "bfloat16",
                "param_dtype": "bfloat16",
            },
        },
    }
    config.weights.codec = f"{HUB}/vae"
    config.weights.text = {
        "clip_l": f"{HUB}/text_encoder",
        "bigg": f"{HUB}/text_encoder_2",
        "t5": f"{HUB}/text_encoder_3",
    }
    config.network = {"name": "sd3_medium", "remat": "dots_with_no_batch_dims_saveable"}
    config.compute_dtype = "bfloat16"
    config.process = "LogSNRShift(of=RectifiedFlow(), shift=3.0)"
    config.parameterization = "velocity"
    config.time_sampling = "LogitNormal"
    config.batch_size = 1024
    # An image at a time passes through the autoencoder on each of 64 chips; 16 need 114 GiB.
    config.accumulate = 16
    config.optimizer = {
        "name": "adamw",
        "learning_rate": 1e-4,
        "schedule": "constant(warmup_steps=1000)",
        "weight_decay": 0.01,
        "clip_norm": 1.0,
    }
    config.ema = "Constant(decay=0.9999)"
    config.parallel = "fsdp"
    config.train.steps = 500_000
    config.train.checkpoint_every = 5000
    config.train.evaluate_every = 10_000
    config.train.workers = 8
    config.sampling.solver = "Euler"
    config.sampling.steps = 28
    config.sampling.guidance_scale = 7.0
    config.sampling.batch_size = 8
    config.evaluation.evaluators = (
        "SampleGrid(columns=4, cond={'text': ['a photo of a cat', 'a castle by a lake, in oil']})",
    )
    return config
