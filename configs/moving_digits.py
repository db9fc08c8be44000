"""Digits that move and bounce, 8 frames of 16×16 pixels: clips by a small model, in minutes.

Conditioned on the digit. It needs no download, and shows how clips are trained on and sampled:

    python experiments/train.py  --config=configs/moving_digits.py --workdir=runs/moving_digits
    python experiments/sample.py --workdir=runs/moving_digits --num=40 --out=clips.gif

"unet" is a U-Net of images with layers across frames, which change nothing at first; "transformer"
a factored space-time transformer, attention within frames and attention across frames.

Measured on 2026-11-30 of "unet" after its 1,500 steps (48,000 clips, 33 minutes of one core): the
training digit that is nearest to a frame has the right label in 86 % of the frames of 40 samples
(68 % with guidance_scale=1.5, 91 % with 5). Digits keep their shape and move smoothly: the mean
second difference of their centroid is 0.89 pixels, of real clips 0.64. The transformer, in twice as
many steps, draws blots: 17 % of the frames (35 % with guidance_scale=6); with patches (2, 2, 2) and
1,500 steps 23 % with 3. Convolutions know that a digit is the same everywhere; it has to learn it.
"""

from jaxdiff import config as defaults

VARIANTS = {
    "unet": {
        "network": {
            "name": "UNet",
            "channels": (16, 32, 48),
            "layers_per_block": 1,
            "temporal": True,
        },
        "sampling.guidance_scale": 3.0,
    },
    "transformer": {
        "network": {
            "name": "DiT",
            "features": 96,
            "depth": 4,
            "num_heads": 4,
            "patch": (2, 4, 4),
            "factored": True,
        },
        "train.steps": 3000,
        "sampling.guidance_scale": 1.5,
    },
}


def get_config(variant: str = "unet"):
    config = defaults.default()
    config.data = {"name": "moving_digits", "shape": (8, 16, 16, 1), "num_classes": 10}
    config.conditions = ("label",)
    config.process = "RectifiedFlow"
    config.parameterization = "velocity"
    config.time_sampling = "LogitNormal"
    config.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine(warmup_steps=100)"
    config.ema = "Warmup(decay=0.998)"
    config.train.steps = 1500
    config.train.log_every = 50
    config.train.checkpoint_every = 500
    config.train.evaluate_every = 1000
    config.sampling.solver = "Heun"
    config.sampling.steps = 20
    config.sampling.batch_size = 40
    config.evaluation.evaluators = ("SampleGrid(columns=4)",)
    return defaults.variant(config, VARIANTS, variant)
