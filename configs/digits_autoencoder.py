"""An autoencoder of handwritten digits, 8×8 pixels to latents of 4×4×2, in two minutes.

    python experiments/train.py --config=configs/digits_autoencoder.py --workdir=runs/autoencoder

A run is a codec for diffusion in its latents, which have mean 0 and deviation 1:

    --config.codec=RunLatents --config.weights.codec=runs/autoencoder

Variants: `adversarial`, with a discriminator of patches as a second player; `vq`, with a codebook
of 64 codes.
"""

from jaxdiff import config as defaults

AUTOENCODER = {
    "channels": (24, 48),
    "layers_per_block": 1,
    "latent_channels": 2,
    "image_channels": 1,
    "num_groups": 8,
    "middle_attention": False,
    "scale": 1.0,
}
VARIANTS = {
    "": {},
    "adversarial": {
        "task.discriminator": {"name": "PatchDiscriminator", "channels": (24, 48)},
        "task.adversary_from": 300,
    },
    "vq": {"task.autoencoder": {**AUTOENCODER, "num_codes": 64}},
}


def get_config(variant: str = ""):
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.task = {
        "name": "Autoencoder",
        "autoencoder": AUTOENCODER,
        "kl_weight": 1e-4,
        "discriminator": None,
        "adversary_from": 0,
    }
    config.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine(warmup_steps=50)"
    config.ema = "Warmup(decay=0.99)"
    config.train.steps = 800
    config.train.log_every = 50
    config.train.checkpoint_every = 400
    config.train.evaluate_every = 400
    config.evaluation.evaluators = ("Reconstructions",)
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
