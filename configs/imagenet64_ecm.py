"""Easy consistency tuning on ImageNet at 64×64 (Geng et al. 2024): needs accelerators.

100,000 steps of 128 images by class, from a diffusion model which `weights.network` names. The
ratio of the times closes with q = 4, in four stages of 25,000 steps; the distance is Pseudo-Huber's
with c = 0.06, the weight SNR + 1/0.5². Adam at 1e-3, from step 2000 on as the inverse root of the
step. The authors' XL in batches of 1024 has FID-50k of 2.49 and 1.67 in one and in two steps.

Differences: the network is the U-Net of Dhariwal & Nichol as in Karras et al. (2022), with dropout
of 0.4 at all sizes; the authors' is EDM2-S, which keeps magnitudes, with dropout at 16 pixels and
below, and averages by powers of the step.
"""

from jaxdiff import config as defaults


def get_config():
    config = defaults.default()
    config.data = {"name": "imagenet2012", "shape": (64, 64, 3), "num_classes": 1000}
    config.transforms = ("Resize(size=64)", "CenterCrop(size=64)")
    config.conditions = ("label",)
    config.condition_dropout = 0.0
    config.process = "EDM(sigma_max=80.0)"
    config.parameterization = "edm(data_std=0.5)"
    config.input_scaling = "UnitVariance(data_std=0.5)"
    config.time_input = "LogNoise(scale=0.25)"
    # c = 0.06 for the root of 64·64·3 values.
    config.objective = (
        "EasyConsistency(q=4.0, every=25_000, stages=4, k=8.0, b=1.0, scale=0.00054127,"
        " per_gap=False)"
    )
    config.time_sampling = "EDMLogNormal(mean=-0.8, std=1.6)"
    config.weighting = "EDM(data_std=0.5)"
    config.network = {
        "name": "UNet",
        "channels": (192, 384, 576, 768),
        "layers_per_block": 3,
        "attention_at": (32, 16, 8),
        "head_channels": 64,
        "scale_shift": True,
        "resample_in_block": True,
        "dropout": 0.4,
    }
    config.batch_size = 128
    config.optimizer = {
        "name": "adam",
        "learning_rate": 1e-3,
        "b1": 0.9,
        "b2": 0.99,
        "schedule": "inverse_sqrt(flat_steps=2000)",
        "clip_norm": 0.0,
    }
    config.ema = "Constant(decay=0.9999)"
    config.parallel = "fsdp"
    config.train.steps = 100_000
    config.train.checkpoint_every = 5000
    config.train.evaluate_every = 5000
    config.train.workers = 8
    config.sampling.solver = "Consistency"
    # The middle level of two steps is 1.526.
    config.sampling.timesteps = "Karras(sigma_min=1.526, sigma_max=80.0)"
    config.sampling.steps = 2
    config.evaluation.split = "validation"
    config.evaluation.num = 50_000
    return config
