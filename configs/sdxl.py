"""SDXL's base model (Podell et al. 2023) on a folder of captioned images: needs accelerators.

2.6 G parameters on the latents of images of 1024×1024, by the states of two text encoders, the
second one's vector, and the sizes of the original, the crop and the target. Their weights are read
from the hub, or from folders:

    --config.data.folder=images --config.weights.codec=vae
    --config.weights.text.clip_l=clip --config.weights.text.bigg=openclip

Differences from the original: squares only, in one stage, and no noise offset.
"""

from jaxdiff import config as defaults

HUB = "stabilityai/stable-diffusion-xl-base-1.0"


def get_config():
    config = defaults.default()
    config.data = {
        "name": "image_folder",
        "folder": "",
        "captions": True,
        "shape": (1024, 1024, 3),
        "num_classes": 0,
    }
    config.transforms = ("RandomFlip", "ResizeCrop(size=1024, random=True)")
    config.codec = {"name": "Latents", "autoencoder": "sdxl_vae"}
    config.conditions = ("text", "size")
    config.encoders = {
        "text": {
            "name": "SDXL",
            "clip_l": {
                "name": "TextEncoder",
                "settings": "CLIPTextSettings(clip_skip=1, final_norm=False)",
                "tokenizer": f"{HUB}/tokenizer",
                "dtype": "bfloat16",
            },
            "bigg": {
                "name": "TextEncoder",
                "settings": "openclip_bigg_14",
                "tokenizer": f"{HUB}/tokenizer_2",
                "dtype": "bfloat16",
            },
        },
        "size": {"name": "Numbers", "default": (1024, 1024, 0, 0, 1024, 1024)},
    }
    config.weights.codec = f"{HUB}/vae"
    config.weights.text = {"clip_l": f"{HUB}/text_encoder", "bigg": f"{HUB}/text_encoder_2"}
    config.network = {"name": "sdxl"}
    config.compute_dtype = "bfloat16"
    config.process = "Tabulated(betas=scaled_linear_betas())"
    config.parameterization = "noise"
    config.time_input = "DiscreteIndex(steps=1000)"
    config.time_sampling = "Discrete(steps=1000)"
    config.batch_size = 2048
    config.optimizer = {
        "name": "adamw",
        "learning_rate": 1e-4,
        "schedule": "constant(warmup_steps=10000)",
        "weight_decay": 0.01,
        "clip_norm": 1.0,
    }
    config.ema = "Constant(decay=0.9999)"
    config.parallel = "fsdp"
    config.train.steps = 200_000
    config.train.checkpoint_every = 5000
    config.train.evaluate_every = 10_000
    config.train.workers = 8
    config.sampling.solver = "Euler"
    config.sampling.timesteps = "Leading(train_steps=1000)"
    config.sampling.guidance_scale = 5.0
    config.sampling.batch_size = 8
    config.evaluation.evaluators = (
        "SampleGrid(columns=4, cond={'text': ['a photo of a cat', 'a castle by a lake, in oil']})",
    )
    return config
