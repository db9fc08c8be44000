"""Digits that move and bounce, 8 frames of 16×16 pixels: a video transformer in minutes.

A factored space-time transformer (attention within frames, and across them behind a gate that is
closed at first), conditioned on the digit.

    python experiments/train.py  --config=configs/moving_digits.py --workdir=runs/moving_digits
    python experiments/sample.py --workdir=runs/moving_digits --num=40 --out=clips.gif
"""

from jaxdiff import config as defaults


def get_config():
    config = defaults.default()
    config.data = {"name": "moving_digits", "shape": (8, 16, 16, 1), "num_classes": 10}
    config.conditions = ("label",)
    config.network = {
        "name": "DiT",
        "features": 96,
        "depth": 4,
        "num_heads": 4,
        "patch": (2, 4, 4),
        "factored": True,
    }
    config.process = "RectifiedFlow"
    config.parameterization = "velocity"
    config.time_sampling = "LogitNormal"
    config.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine(steps=3000, warmup_steps=100)"
    config.ema = "Warmup(decay=0.998)"
    config.train.steps = 3000
    config.train.log_every = 50
    config.train.checkpoint_every = 500
    config.train.evaluate_every = 1000
    config.sampling.solver = "Heun"
    config.sampling.steps = 20
    config.sampling.guidance_scale = 1.5
    config.sampling.batch_size = 40
    config.evaluation.evaluators = ("SampleGrid(columns=4)",)
    return config
