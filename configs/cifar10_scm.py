"""Continuous-time consistency models on CIFAR-10 without labels (Lu & Song 2025): an accelerator.

sCT begins from the diffusion model that `weights.network` names; with a teacher, a run of this
recipe's process (variant "denoising"), it is sCD:

    train.py --config=configs/cifar10_scm.py --config.weights.teacher=runs/denoising ...

400,000 steps of 512 images; tangents are warmed up over 10,000 steps and divided by their norm plus
0.1, times have log-normal noise levels of mean -1.0 and deviation 1.4, and the weight is learned.
Published FID-50k of sCT in one and in two steps: 2.97 and 2.06. Of sCD 3.66 and 2.52 are quoted by
others; here no source of the first hand was seen for these two, nor for batch, rates and times.

Differences: the network is that of `cifar10_edm.py` with sines and cosines of the angle, whose
frequencies are positional, not random: a tangent grows with the highest of them.
"""

from jaxdiff import config as defaults

VARIANTS = {
    "": {},
    "denoising": {
        "objective": "Denoising",
        "weighting": "EDM(data_std=0.5)",
        "time_sampling": "EDMLogNormal(mean=-1.2, std=1.2)",
        "sampling.solver": "Heun",
        "sampling.timesteps": "Karras(sigma_min=0.002, sigma_max=80.0, rho=7.0)",
        "sampling.steps": 18,
    },
}


def get_config(variant: str = ""):
    config = defaults.default()
    config.data = {"name": "cifar10", "shape": (32, 32, 3), "num_classes": 10}
    config.process = "TrigFlow"
    config.parameterization = "edm(data_std=0.5)"
    config.input_scaling = "UnitVariance(data_std=0.5)"
    config.time_input = "ScaledTime(scale=1.5708)"  # the angle
    config.objective = (
        "LearnedUncertainty(of=ContinuousConsistency(data_std=0.5, warmup=10_000, floor=0.1))"
    )
    config.time_sampling = "EDMLogNormal(mean=-1.0, std=1.4)"
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
    config.batch_size = 512
    config.optimizer = {
        "name": "radam",
        "learning_rate": 1e-4,
        "b1": 0.9,
        "b2": 0.99,
        "schedule": "constant",
        "clip_norm": 0.0,
    }
    config.ema = "Constant(decay=0.9999)"
    config.train.steps = 400_000
    config.train.checkpoint_every = 10_000
    config.train.evaluate_every = 10_000
    config.train.workers = 4
    config.sampling.solver = "Consistency"
    config.sampling.timesteps = "Karras(sigma_min=0.821, sigma_max=80.0)"
    config.sampling.steps = 2
    config.evaluation.num = 50_000
    return defaults.variant(config, VARIANTS, variant)
