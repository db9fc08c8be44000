"""Easy consistency tuning on CIFAR-10 without labels (Geng et al. 2024): needs an accelerator.

200,000 steps of 128 images from a diffusion model, which `weights.network` names: a run of the
network below with `objective="Denoising"`, or released weights of it. Published FID-50k of one and
of two steps: 3.86 and 2.15; 3.60 and 2.11 after 400,000 steps. The ratio of the times closes with
q = 2, in eight stages of 25,000 steps; the distance is the norm, divided by the gap of the times.

Variants: "", and "one_hour", a single stage of q = 256 whose average forgets faster.

Differences: the network is that of `cifar10_edm.py`, whose docstring says how it differs.
"""

from jaxdiff import config as defaults

VARIANTS = {
    "": {},
    "one_hour": {
        "objective": "EasyConsistency(q=256.0, stages=1)",
        "ema": "Constant(decay=0.9993)",
        "train.steps": 8000,
    },
}


def get_config(variant: str = ""):
    config = defaults.default()
    config.data = {"name": "cifar10", "shape": (32, 32, 3), "num_classes": 10}
    config.process = "EDM(sigma_max=80.0)"
    config.parameterization = "edm(data_std=0.5)"
    config.input_scaling = "UnitVariance(data_std=0.5)"
    config.time_input = "LogNoise(scale=0.25)"
    config.objective = "EasyConsistency(q=2.0, every=25_000, stages=8, k=8.0, b=1.0)"
    config.time_sampling = "EDMLogNormal(mean=-1.1, std=2.0)"
    config.network = {
        "name": "UNet",
        "channels": (256, 256, 256),
        "layers_per_block": 4,
        "attention_at": (16,),
        "resample_in_block": True,
        "skip_scale": 0.5**0.5,
        "eps": 1e-6,
        "dropout": 0.2,
        "time_sinusoids": {"name": "SinCos", "frequency_shift": 1.0},
        "embedding_features": 512,
    }
    config.batch_size = 128
    config.optimizer = {
        "name": "radam",
        "learning_rate": 1e-4,
        "schedule": "constant",
        "clip_norm": 0.0,
    }
    config.ema = "Constant(decay=0.9999)"
    config.train.steps = 200_000
    config.train.checkpoint_every = 5000
    config.train.evaluate_every = 5000
    config.train.workers = 4
    config.sampling.solver = "Consistency"
    # The middle level of two steps is 0.821.
    config.sampling.timesteps = "Karras(sigma_min=0.821, sigma_max=80.0)"
    config.sampling.steps = 2
    config.evaluation.num = 50_000
    return defaults.variant(config, VARIANTS, variant)
