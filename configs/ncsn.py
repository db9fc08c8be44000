"""Denoising score matching at a ladder of noise levels, sampled by annealed Langevin dynamics.

Song & Ermon (2019), with levels and steps chosen as they advise in their second paper (2020): the
largest level is the largest distance between two examples, neighbouring levels overlap, and the
last step denoises. On digits; unit weight on the error in the noise is their lambda = sigma².
"""

from jaxdiff import config as defaults

LEVELS = 64


def get_config():
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.process = "VarianceExploding(sigma_min=0.01, sigma_max=17.0)"
    config.parameterization = "score"
    config.loss_parameterization = "noise"
    config.time_sampling = f"Discrete(steps={LEVELS})"
    config.input_scaling = "UnitVariance(data_std=0.6)"
    config.time_input = "LogNoise(scale=250.0)"
    config.network = {
        "name": "UNet",
        "channels": (24, 48),
        "layers_per_block": 1,
        "attention_at": (4,),
        "head_channels": 24,
    }
    config.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine(warmup_steps=100)"
    config.ema = "Warmup(decay=0.995)"
    config.train.steps = 1500
    config.train.evaluate_every = 1500
    config.sampling.solver = "AnnealedLangevin(steps_per_level=5, step_size=0.2)"
    config.sampling.timesteps = f"Trailing(train_steps={LEVELS})"
    config.sampling.steps = LEVELS
    config.sampling.batch_size = 100
    return config
