"""MeanFlow on CIFAR-10 without labels (Geng et al. 2025): needs an accelerator.

800,000 steps of 1024 images, one evaluation a sample; the authors' second version reports FID-50k
of 2.80 to 2.9. Times t and s are logit-normal with means -0.6 and -4 and deviation 1.6, different
in three of four examples, and the loss's power is 0.75.

Differences: the network is that of `cifar10_edm.py`; flips stand for the augmentation of EDM.
"""

from jaxdiff import config as defaults


def get_config():
    config = defaults.default()
    config.data = {"name": "cifar10", "shape": (32, 32, 3), "num_classes": 10}
    config.transforms = ("RandomFlip",)
    config.process = "RectifiedFlow"
    config.parameterization = "velocity"
    config.objective = (
        "MeanFlow(spans=Pairs(second=LogitNormal(mean=-4.0, std=1.6), apart=0.75), "
        "distance=Adaptive(power=0.75, eps=0.001))"
    )
    config.time_sampling = "LogitNormal(mean=-0.6, std=1.6)"
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
        "inputs": {"scalars": {"until": 1000.0}},
    }
    config.batch_size = 1024
    config.optimizer = {
        "name": "adam",
        "learning_rate": 6e-4,
        "schedule": "constant(warmup_steps=9766)",
        "clip_norm": 0.0,
    }
    config.ema = "Constant(decay=0.99995)"
    config.train.steps = 800_000
    config.train.checkpoint_every = 5000
    config.train.evaluate_every = 10_000
    config.train.workers = 4
    config.sampling.solver = "FlowMap"
    config.sampling.steps = 1
    config.evaluation.num = 50_000
    return config
