"""An autoencoder of emoji, 64×64 pixels to latents of 16×16×4, 12 times fewer numbers.

    python -m jaxdiff train --config=openmoji_autoencoder --workdir=runs/openmoji_autoencoder

1.5 M parameters; on two cores 3,000 steps take about 50 minutes.

A run is a codec for diffusion, whose latents have mean 0 and deviation 1:

    --config.codec=RunLatents --config.weights.codec=runs/openmoji_autoencoder

Variants: `scenes`, of emoji_scenes; `vq`, with a codebook of 1,024 codes; `adversarial`, with a
discriminator of patches from step 1,500 on; `perceptual`, that and the feature maps of
`configs/openmoji_clip.py`, --config.weights.perceptual=runs/openmoji_clip; `clips`, of
moving_scenes, causal, 4 times fewer frames.
"""

from jaxdiff import config as defaults

AUTOENCODER = {
    "channels": (16, 48, 96),
    "layers_per_block": 1,
    "latent_channels": 4,
    "num_groups": 8,
    "middle_attention": True,
    "scale": 1.0,
}
CLIPS = (
    "VideoAutoencoderSettings(channels=(16, 32, 64), halve_frames=(True, True), layers_per_block=1,"
    " latent_channels=4, middle_attention=False, clamp=False)"
)
TASK = {
    "name": "Autoencoder",
    "autoencoder": AUTOENCODER,
    "kl_weight": 1e-3,
    "discriminator": None,
    "adversary_from": 0,
}
CRITIC = {"name": "PatchDiscriminator", "channels": (16, 32, 64), "num_groups": 8}
SCENES = {"name": "emoji_scenes", "shape": (64, 64, 3), "num_classes": 0}
ADVERSARIAL = {"task.discriminator": CRITIC, "task.adversary_from": 1500}
VARIANTS = {
    "": {},
    "scenes": {"data": SCENES},
    "vq": {"task.autoencoder": {**AUTOENCODER, "num_codes": 1024}},
    "adversarial": ADVERSARIAL,
    "perceptual": {**ADVERSARIAL, "weights.perceptual": "runs/openmoji_clip"},
    "clips": {
        "data": {"name": "moving_scenes", "shape": (9, 64, 64, 3), "num_classes": 0, "frames": 9},
        "task": {**TASK, "autoencoder": CLIPS},
        "batch_size": 4,
        "transforms": (),
        "train.steps": 4000,
    },
}


def get_config(variant: str = ""):
    config = defaults.default()
    config.data = {"name": "openmoji", "shape": (64, 64, 3), "num_classes": 4}
    config.transforms = ("RandomFlip",)
    config.task = TASK
    config.weights.perceptual = ""
    config.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine(warmup_steps=100)"
    config.ema = "Warmup(decay=0.999)"
    config.train.steps = 3000
    config.train.log_every = 50
    config.train.checkpoint_every = 250
    config.train.evaluate_every = 500
    config.sampling.batch_size = 32
    config.evaluation.num = 320
    config.evaluation.evaluators = ("Reconstructions",)
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
