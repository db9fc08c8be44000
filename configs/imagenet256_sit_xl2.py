"""SiT-XL/2 on ImageNet at 256×256 (Ma et al. 2024): needs accelerators.

The network of DiT-XL/2, 675 M parameters, which predicts the velocity of a straight path between
data and noise; sampled by an ODE. Data and autoencoder as in imagenet256_dit_xl2.
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
    config.network = {"name": "dit_xl"}
    config.compute_dtype = "bfloat16"
    config.process = "RectifiedFlow"
    config.parameterization = "velocity"
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
    config.sampling.solver = "Heun"
    config.sampling.steps = 125
    config.sampling.guidance_scale = 1.5
    config.evaluation.split = "validation"
    config.evaluation.num = 50_000
    return config
