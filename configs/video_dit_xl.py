"""DiT-XL over space-time patches, on clips of 17 to 129 frames at 256×256: needs accelerators.

The widths of DiT-XL/2 (Peebles & Xie 2023), rotary positions, normalized queries and keys and full
attention in space and time, on the latents of Wan 2.1's causal autoencoder, of which one stands for
four frames after the first: `configs/video_dit_xl.py:129` has 129 frames, the default 17. Weights
serve all durations. A clip of one frame is an image.

The recipe brings no clips: `data.name` is a placeholder for a source of your own, a function
`(split, **options)` that returns labelled clips, uint8 [frames, 256, 256, 3] (see
`jaxdiff/data/sources.py`, and `configs/moving_digits.py` for clips that need no download):

    --config.data.name=my_lab.clips:ucf101 --config.weights.codec=vae
"""

from jaxdiff import config as defaults
from jaxdiff.config import variant

VARIANTS = {
    name: {"data.shape": (frames, 256, 256, 3), "batch_size": batch, "sampling.batch_size": 1}
    for name, frames, batch in (("", 17, 256), ("33", 33, 128), ("65", 65, 64), ("129", 129, 32))
}


def get_config(name=""):
    config = defaults.default()
    config.data = {"name": "my_lab.clips:ucf101", "shape": (17, 256, 256, 3), "num_classes": 101}
    config.codec = {
        "name": "Latents",
        "autoencoder": {"name": "Tiled", "autoencoder": "wan_vae", "tile": None, "frames": 1},
        "dtype": "bfloat16",
    }
    config.conditions = ("label",)
    config.weights.codec = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers/vae"
    config.network = {
        "name": "dit_xl",
        "patch": (1, 2, 2),
        "positions": {"name": "Rotary"},
        "qk_norm": "head",
        "remat": "dots_with_no_batch_dims_saveable",
    }
    config.compute_dtype = "bfloat16"
    config.process = "LogSNRShift(of=RectifiedFlow(), shift=3.0)"
    config.parameterization = "velocity"
    config.time_sampling = "LogitNormal"
    config.optimizer = {
        "name": "adamw",
        "learning_rate": 1e-4,
        "schedule": "constant(warmup_steps=1000)",
        "weight_decay": 0.0,
        "clip_norm": 1.0,
    }
    config.ema = "Constant(decay=0.9999)"
    config.parallel = "fsdp"
    config.train.steps = 400_000
    config.train.checkpoint_every = 5000
    config.train.evaluate_every = 10_000
    config.train.workers = 8
    config.sampling.solver = "Euler"
    config.sampling.steps = 50
    config.sampling.guidance_scale = 4.0
    config.evaluation.evaluators = ("SampleGrid(columns=1, cond={'label': [0, 25, 50, 75]})",)
    return variant(config, VARIANTS, name)
