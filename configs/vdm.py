"""A variational diffusion model (Kingma et al. 2021), its schedule learned, on digits.

The loss is the bound on the likelihood itself, in bits per dimension of the digits' 17 levels.
Differences from the paper: no Fourier features at the input, and a small U-Net.
"""

from jaxdiff import config as defaults


def get_config():
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.process = "Learned(highest=8.0, lowest=-6.0)"
    config.parameterization = "noise"
    config.time_input = "LogNoise(scale=125.0)"
    config.objective = "VariationalBound(levels=17)"
    config.time_sampling = "Stratified"
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
    config.sampling.solver = "DDPM"
    config.sampling.steps = 250
    config.sampling.batch_size = 100
    return config
