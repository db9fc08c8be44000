"""DiT-XL/2 on ImageNet at 256×256 (Peebles & Xie 2023): needs accelerators.

675 M parameters on the latents of Stable Diffusion's autoencoder; noise and variance in 1,000 steps
of linear betas; batch 256, AdamW at 1e-4 for 7 M steps; sampled by 250 ancestral steps. ImageNet
comes through TFDS, from the archives that one has asked for; the autoencoder from the hub, or from
a folder, --config.weights.codec=vae.
"""

from jaxdiff import config as defaults


def get_config():
    config = defaults.default()
    config.data = {"name": "imagenet2012", "shape": (256, 256, 3), "num_classes": 1000}
    config.transforms = ("Resize(size=256)", "CenterCrop(size=256)", "RandomFlip")
    config.codec = {
        "name": "Latents",
        "autoencoder": "sd_vae",
    }
    config.conditions = ("label",)
    config.weights.codec = "stabilityai/sd-vae-ft-ema"
    config.network = {"name": "dit_xl", "out_channels": 8}
    config.compute_dtype = "bfloat16"
    config.process = "Tabulated"
    config.parameterization = "noise"
    config.time_input = "DiscreteIndex(steps=1000)"
    config.time_sampling = "Discrete(steps=1000)"
    config.objective = "LearnedVariance(levels=None)"
    config.batch_size = 256
    config.optimizer = {
        "name": "adamw",
        "learning_rate": 1e-4,
        "schedule": "constant",
        "weight_decay": 0.0,
        "clip_norm": 0.0,
    }
    config.ema = "Constant(decay=0.9999)"
    config.parallel = "fsdp"
    config.train.steps = 7_000_000
    config.train.checkpoint_every = 10_000
    config.train.evaluate_every = 50_000
    config.train.workers = 8
    config.sampling.solver = "DDPM(variance='learned')"
    config.sampling.timesteps = "Trailing(train_steps=1000)"
    config.sampling.steps = 250
    config.sampling.guidance_scale = 1.5
    config.evaluation.split = "validation"
    config.evaluation.num = 50_000
    return config
