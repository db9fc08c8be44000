"""Truncated consistency models on CIFAR-10 without labels (Lee et al. 2024): needs an accelerator.

Stage 1 is easy consistency tuning, from the diffusion model that `weights.network` names, in
batches of 512; stage 2 learns noise levels above 1 alone, in batches of 1024, from the model of
stage 1, which it has as its teacher:

    train.py --config=configs/cifar10_tcm.py:stage1 --config.weights.network=runs/edm ...
    train.py --config=configs/cifar10_tcm.py:stage2 --config.weights.teacher=runs/stage1 ...

Published FID-50k of one and of two steps: 2.46 and 2.05. A quarter of the examples of stage 2 are
at the boundary; their loss, a mean over them, has the factor 0.1, which is 0.3 in a mean over all.
The authors' script sets 3,000,000 steps, which is a bound; here stage 1 has 400,000, and so has
stage 2.

Differences: the network is that of `cifar10_edm.py`, whose docstring says how it differs. Examples
whose earlier time lies below the boundary have the boundary's factor, too.
"""

from jaxdiff import config as defaults

VARIANTS = {
    "stage1": {
        "objective": "EasyConsistency(q=2.0, every=25_000, stages=10, scale=1.8e-10)",
        "time_sampling": "EDMLogNormal(mean=-1.1, std=2.0)",
        "batch_size": 512,
        "optimizer.learning_rate": 1e-4,
    },
    "stage2": {
        "objective": (
            "TruncatedConsistency(boundary=1.0, boundary_weight=0.3, "
            "spans=Ratio(q=1000.0, stages=1), distance=PseudoHuber(scale=1.8e-10))"
        ),
        "time_sampling": (
            "WithLevel(sigma=1.0, share=0.25, of=LogStudent(freedom=0.01, mean=0.0, std=0.2, "
            "low=1.0, high=80.0))"
        ),
        "batch_size": 1024,
        "optimizer.learning_rate": 5e-5,
    },
}


def get_config(variant: str = "stage1"):
    config = defaults.default()
    config.data = {"name": "cifar10", "shape": (32, 32, 3), "num_classes": 10}
    config.process = "EDM(sigma_max=80.0)"
    config.parameterization = "edm(data_std=0.5)"
    config.input_scaling = "UnitVariance(data_std=0.5)"
    config.time_input = "LogNoise(scale=0.25)"
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
    config.optimizer = {"name": "radam", "schedule": "constant", "clip_norm": 0.0}
    config.ema = "Constant(decay=0.9999)"
    config.train.steps = 400_000
    config.train.checkpoint_every = 10_000
    config.train.evaluate_every = 10_000
    config.train.workers = 4
    config.sampling.solver = "Consistency"
    # The middle level of two steps is 0.821.
    config.sampling.timesteps = "Karras(sigma_min=0.821, sigma_max=80.0)"
    config.sampling.steps = 2
    config.evaluation.num = 50_000
    return defaults.variant(config, VARIANTS, variant)
