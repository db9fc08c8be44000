"""Clips of moving emoji from captions: 9 frames of 64×64 pixels, by a transformer in latents.

    python -m jaxdiff train  --config=openmoji_autoencoder:clips --workdir=runs/clips_autoencoder
    python -m jaxdiff train  --config=moving_scenes --workdir=runs/moving_scenes
    python -m jaxdiff sample --workdir=runs/moving_scenes --num=4 --out=clips.gif \\
        --text="a red apple falling and bouncing, on a blue ground"

The autoencoder is causal and has 4 times fewer frames, 3 latents of 16×16×4; the transformer's
patches are of one frame, its attention among all.

Variants: `factored`, with attention within frames and then across them; `unet`, the U-Net of
`configs/scenes_text.py:unet` with layers across frames, in latents of an autoencoder of images. It
begins as a run of images, whose weights it has: --config.weights.network=runs/scenes_text_unet
`mixed`, clips and pictures, which are clips of one frame, in turns.
"""

from jaxdiff import config as defaults

AUTOENCODER = (
    "VideoAutoencoderSettings(channels=(16, 32, 64), halve_frames=(True, True), layers_per_block=1,"
    " latent_channels=4, middle_attention=False, clamp=False)"
)
PROMPTS = (
    "a red apple falling and bouncing, on a blue ground",
    "a green car moving right, on a white ground",
    "a yellow star turning, on a checked purple ground",
    "a blue fish growing, the camera panning left, on a ground from white to pink",
)
OF_IMAGES = {
    "channels": (16, 48, 96),
    "layers_per_block": 1,
    "latent_channels": 4,
    "num_groups": 8,
    "middle_attention": True,
    "scale": 1.0,
}
UNET = {
    "name": "UNet",
    "channels": (64, 128, 128),
    "layers_per_block": 2,
    "transformer_depth": (0, 1, 1),
    "head_channels": 32,
    "scale_shift": True,
    "temporal": True,
    "inputs": {"text_features": 128, "pooled_features": 128},
}
VARIANTS = {
    "": {},
    "factored": {"network.factored": True},
    "unet": {
        "network": UNET,
        "codec": {"name": "RunLatents", "autoencoder": OF_IMAGES},
        "weights.codec": "runs/scenes_autoencoder",
        "batch_size": 4,
    },
    "mixed": {
        "data": {
            "name": "buckets",
            "shape": (9, 64, 64, 3),
            "num_classes": 0,
            "of": ({"name": "moving_scenes", "frames": 9}, {"name": "moving_scenes", "frames": 1}),
            "shares": (3, 1),
        },
    },
}


def get_config(variant: str = ""):
    config = defaults.default()
    config.data = {
        "name": "moving_scenes",
        "shape": (9, 64, 64, 3),
        "num_classes": 0,
        "frames": 9,
    }
    config.codec = {"name": "RunLatents", "autoencoder": AUTOENCODER}
    config.conditions = ("text",)
    config.encoders = {"text": {"name": "Words", "features": 128, "window": 32}}
    config.weights.codec = "runs/clips_autoencoder"
    config.network = {
        "name": "DiT",
        "features": 256,
        "depth": 6,
        "num_heads": 4,
        "patch": (1, 2, 2),
        "qk_norm": "head",
        "factored": False,
        "inputs": {"text_features": 128, "pooled_features": 128},
    }
    config.process = "RectifiedFlow"
    config.parameterization = "velocity"
    config.time_sampling = "Stratified(of=LogitNormal())"
    config.batch_size = 16
    config.optimizer.learning_rate = 5e-4
    config.optimizer.schedule = "cosine(warmup_steps=500)"
    config.ema = "Warmup(decay=0.9995)"
    config.train.steps = 20_000
    config.train.log_every = 50
    config.train.checkpoint_every = 500
    config.train.evaluate_every = 1000
    config.sampling.solver = "Heun"
    config.sampling.steps = 25
    config.sampling.guidance_scale = 3.0
    config.sampling.batch_size = 16
    config.evaluation.num = 64
    config.evaluation.evaluators = (
        {"name": "SampleGrid", "columns": 4, "cond": {"text": list(PROMPTS)}},
        "HeldOutLoss",
    )
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
