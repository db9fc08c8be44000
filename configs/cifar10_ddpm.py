"""CIFAR-10 as in Ho et al. (2020, appendix B): needs an accelerator.

35.7 M parameters, 800,000 steps of batch 128; noise prediction in 1,000 steps of linear betas;
sampled by the ancestral rule with the variance beta_t ("large"), as their code does.
"""

from jaxdiff import config as defaults


def get_config():
    config = defaults.default()
    config.data = {"name": "cifar10", "shape": (32, 32, 3), "num_classes": 10}
    config.transforms = ("RandomFlip",)
    config.process = "Tabulated"
    config.parameterization = "noise"
    config.time_input = "DiscreteIndex(steps=1000)"
    config.time_sampling = "Discrete(steps=1000)"
    config.network = {
        "name": "UNet",
        "channels": (128, 256, 256, 256),
        "layers_per_block": 2,
        "attention_at": (16,),
        "time_sinusoids": {"name": "SinCos", "cos_first": False, "frequency_shift": 1.0},
        "downsample_padding": (0, 1),
        "eps": 1e-6,
        "dropout": 0.1,
    }
    config.condition_dropout = 0.0
    config.batch_size = 128
    config.optimizer.learning_rate = 2e-4
    config.optimizer.schedule = "constant(warmup_steps=5000)"
    config.ema = "Constant(decay=0.9999)"
    config.train.steps = 800_000
    config.train.checkpoint_every = 10_000
    config.train.evaluate_every = 10_000
    config.train.workers = 4
    config.sampling.solver = "DDPM(variance='large')"
    config.sampling.timesteps = "Trailing(train_steps=1000)"
    config.sampling.steps = 1000
    config.evaluation.num = 50_000
    return config
