"""Distribution matching on ImageNet at 64×64, DMD2 (Yin et al. 2024b): needs accelerators.

A one-step generator from the diffusion model of Karras et al. (2022), a run of the variant
"denoising" or of any other with this network, which `weights.teacher` names:

    train.py --config=configs/imagenet64_dmd2.py --config.weights.teacher=runs/denoising ...

200,000 steps of 280 images; the generator moves in every fifth. Its adversarial loss has the factor
0.003, the discriminator's on the fake score's smallest features the factor 0.01, all rates are
2e-6. Published FID-50k of one step: 1.51 so; 2.61 of 410,000 steps without adversarial loss
("no_gan"), and 1.28 of 140,000 more with it at rates of 5e-7 ("resumed", from a run of "no_gan" as
`weights.network`).

Differences: the generator's average is its weights at the last step, as the authors have none; the
fake score and the discriminator see the noise levels of the generator's loss, from 2 % to 98 % of
the grid, where the authors' see all of it; labels are those of the batch.
"""

from jaxdiff import config as defaults

MATCHING = "DistributionMatching(adversarial={}, critic_weight=0.01, discriminator={})"
HEAD = "FeatureDiscriminator(channels=(768, 768), strides=(2, 4))"
RATE = {"optimizer.learning_rate": 5e-7, "optimizers.network.learning_rate": 5e-7}

VARIANTS = {
    "": {},
    "no_gan": {"objective": "DistributionMatching", "train.steps": 410_000},
    "resumed": {**RATE, "train.steps": 140_000},
    "denoising": {
        "objective": "Denoising",
        "time_sampling": "EDMLogNormal(mean=-1.2, std=1.2)",
        "network.dropout": 0.1,
        "batch_size": 4096,
        "optimizer.learning_rate": 1e-4,
        "optimizer.weight_decay": 0.0,
        "optimizer.schedule": "constant(warmup_steps=2442)",
        "optimizers": {},
        "ema": "HalfLife(images=50_000_000.0, rampup=0.05)",
        "train.steps": 610_352,
        "sampling.solver": "Heun",
        "sampling.timesteps": "Karras(sigma_min=0.002, sigma_max=80.0, rho=7.0)",
        "sampling.steps": 40,
    },
}


def get_config(variant: str = ""):
    config = defaults.default()
    config.data = {"name": "imagenet2012", "shape": (64, 64, 3), "num_classes": 1000}
    config.transforms = ("Resize(size=64)", "CenterCrop(size=64)")
    config.conditions = ("label",)
    config.condition_dropout = 0.0
    config.process = "EDM(sigma_max=80.0)"
    config.parameterization = "edm(data_std=0.5)"
    config.input_scaling = "UnitVariance(data_std=0.5)"
    config.time_input = "LogNoise(scale=0.25)"
    config.objective = MATCHING.format(0.003, HEAD)
    config.time_sampling = "KarrasUniform(low=0.02, high=0.98)"
    config.weighting = "EDM(data_std=0.5)"
    config.network = {
        "name": "UNet",
        "channels": (192, 384, 576, 768),
        "layers_per_block": 3,
        "attention_at": (32, 16, 8),
        "head_channels": 64,
        "scale_shift": True,
        "resample_in_block": True,
    }
    config.compute_dtype = "bfloat16"
    config.batch_size = 280
    config.optimizer = {
        "name": "adamw",
        "learning_rate": 2e-6,
        "weight_decay": 0.01,
        "schedule": "constant(warmup_steps=500)",
        "clip_norm": 10.0,
    }
    config.optimizers = {"network": {"every": 5}}
    config.ema = "Constant(decay=0.0)"
    config.parallel = "fsdp"
    config.train.steps = 200_000
    config.train.checkpoint_every = 5000
    config.train.evaluate_every = 5000
    config.evaluation.evaluators = ("SampleGrid",)
    config.train.workers = 8
    config.sampling.solver = "Consistency"
    config.sampling.steps = 1
    config.evaluation.split = "validation"
    config.evaluation.num = 50_000
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
