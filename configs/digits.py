"""Handwritten digits, 8×8 and grey, by class; what `make demo` trains.

Variants: "" (v-prediction on the cosine schedule), "ddpm" (noise prediction on DDPM's table of
betas), "edm", "flow" (rectified flow), "dit" (rectified flow by a transformer of 0.9 M parameters).
"""

from jaxdiff import config as defaults

VARIANTS = {
    "": {},
    "ddpm": {
        "process": "Tabulated",
        "parameterization": "noise",
        "time_sampling": "Discrete(steps=1000)",
        "sampling.solver": "DDPM",
        "sampling.timesteps": "Trailing(train_steps=1000)",
        "sampling.steps": 250,
    },
    "edm": {
        "process": "EDM(sigma_max=80.0)",
        "parameterization": "edm(data_std=0.6)",
        "input_scaling": "UnitVariance(data_std=0.6)",
        "time_input": "LogNoise(scale=250.0)",
        "time_sampling": "EDMLogNormal(mean=-1.2, std=1.2)",
        "sampling.solver": "Heun",
        "sampling.timesteps": "Karras(sigma_min=0.002, sigma_max=80.0, rho=7.0)",
        "sampling.steps": 18,
    },
    "flow": {
        "process": "RectifiedFlow",
        "parameterization": "velocity",
        "time_sampling": "LogitNormal(mean=0.0, std=1.0)",
        "sampling.solver": "Euler",
    },
    "dit": {
        "process": "RectifiedFlow",
        "parameterization": "velocity",
        "time_sampling": "LogitNormal(mean=0.0, std=1.0)",
        "network": {"name": "DiT", "features": 96, "depth": 6, "num_heads": 4},
        "optimizer.learning_rate": 1e-3,
        "optimizer.schedule": "cosine(warmup_steps=100)",
        "train.steps": 3000,
        "train.checkpoint_every": 1000,
        "train.evaluate_every": 1000,
        "sampling.solver": "Heun",
    },
}


def get_config(variant: str = ""):
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.conditions = ("label",)
    config.network = {
        "name": "UNet",
        "channels": (24, 48),
        "layers_per_block": 1,
        "attention_at": (4,),
        "head_channels": 24,
        "scale_shift": True,
    }
    config.batch_size = 64
    config.optimizer.learning_rate = 3e-3
    config.optimizer.schedule = "cosine(warmup_steps=50)"
    config.ema = "Warmup(decay=0.99)"
    config.train.steps = 600
    config.train.log_every = 20
    config.train.checkpoint_every = 300
    config.train.evaluate_every = 300
    config.sampling.solver = "DPMpp2M"
    config.sampling.steps = 20
    config.sampling.guidance_scale = 1.25
    config.sampling.batch_size = 80
    return defaults.variant(config, VARIANTS, variant)
