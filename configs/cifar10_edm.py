"""CIFAR-10 by class as in Karras et al. (2022, tables 7 and 8, DDPM++): needs an accelerator.

200 M training images in batches of 512, sampled by Heun's method in 18 steps (35 evaluations).
Differences from the paper: plain flips in place of the non-leaky augmentation; labels are dropped
with probability 0.1, so that the same weights serve guidance; 57.1 M parameters where the paper
has 55.7, because the first convolution is as wide as the first level and every block at 16 pixels
attends on the way up as well, while shortcuts are not projected where only the size changes.
"""

from jaxdiff import config as defaults


def get_config():
    config = defaults.default()
    config.data = {"name": "cifar10", "shape": (32, 32, 3), "num_classes": 10}
    config.transforms = ("RandomFlip",)
    config.conditions = ("label",)
    config.process = "EDM(sigma_max=80.0)"
    config.parameterization = "edm(data_std=0.5)"
    config.input_scaling = "UnitVariance(data_std=0.5)"
    config.time_input = "LogNoise(scale=0.25)"
    config.time_sampling = "EDMLogNormal(mean=-1.2, std=1.2)"
    config.network = {
        "name": "UNet",
        "channels": (256, 256, 256),
        "layers_per_block": 4,
        "attention_at": (16,),
        "resample_in_block": True,
        "skip_scale": 0.5**0.5,
        "eps": 1e-6,
        "dropout": 0.13,
        "time_sinusoids": {"name": "SinCos", "frequency_shift": 1.0},
        "embedding_features": 512,
    }
    config.batch_size = 512
    config.optimizer.learning_rate = 1e-3
    config.optimizer.eps = 1e-8
    config.optimizer.schedule = "constant(warmup_steps=19532)"
    config.optimizer.clip_norm = 0.0
    config.ema = "HalfLife(images=500000.0, rampup=0.05)"
    config.train.steps = 390_625
    config.train.checkpoint_every = 5000
    config.train.evaluate_every = 5000
    config.train.workers = 4
    config.sampling.solver = "Heun"
    config.sampling.timesteps = "Karras(sigma_min=0.002, sigma_max=80.0, rho=7.0)"
    config.sampling.steps = 18
    config.evaluation.num = 50_000
    return config
