"""Stable Diffusion 1.5 (Rombach et al. 2022) on a folder of captioned images: needs accelerators.

860 M parameters on the latents of images of 512×512, noise prediction in 1,000 steps of betas whose
roots are evenly spaced, by the states of CLIP's text encoder; batch 2,048, AdamW at 1e-4. Their
weights are read from the hub, or from folders:

    --config.data.folder=images --config.weights.codec=vae --config.weights.text=clip

Differences from the original: images are resized, not chosen by size, and there is one stage.
"""

from jaxdiff import config as defaults

HUB = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def get_config():
    config = defaults.default()
    config.data = {
        "name": "image_folder",
        "folder": "",
        "captions": True,
        "shape": (512, 512, 3),
        "num_classes": 0,
    }
    config.transforms = ("Resize(size=512)", "CenterCrop(size=512)", "RandomFlip")
    config.codec = {"name": "Latents", "autoencoder": "sd_vae", "dtype": "bfloat16"}
    config.conditions = ("text",)
    config.encoders = {
        "text": {
            "name": "TextEncoder",
            "settings": "clip_vit_l_14",
            "tokenizer": f"{HUB}/tokenizer",
            "dtype": "bfloat16",
        }
    }
    config.weights.codec, config.weights.text = f"{HUB}/vae", f"{HUB}/text_encoder"
    config.network = {"name": "stable_diffusion_15"}
    config.compute_dtype = "bfloat16"
    config.process = "Tabulated(betas=scaled_linear_betas())"
    config.parameterization = "noise"
    config.time_input = "DiscreteIndex(steps=1000)"
    config.time_sampling = "Discrete(steps=1000)"
    config.batch_size = 2048
    # Four images at a time pass through the autoencoder and the U-Net on each of 64 chips.
    config.accumulate = 8
    config.optimizer = {
        "name": "adamw",
        "learning_rate": 1e-4,
        "schedule": "constant(warmup_steps=10000)",
        "weight_decay": 0.01,
        "clip_norm": 1.0,
    }
    config.ema = "Constant(decay=0.9999)"
    config.parallel = "fsdp"
    config.train.steps = 600_000
    config.train.checkpoint_every = 5000
    config.train.evaluate_every = 10_000
    config.train.workers = 8
    config.sampling.timesteps = "Leading(train_steps=1000)"
    config.sampling.guidance_scale = 7.5
    config.sampling.batch_size = 16
    config.evaluation.evaluators = (
        "SampleGrid(cond={'text': ['a photo of a cat', 'a castle by a lake, oil on canvas']})",
    )
    return config
