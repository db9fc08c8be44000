"""A contrastive encoder of emoji and their captions, 64×64 pixels (CLIP): 0.9 M parameters.

    python -m jaxdiff train --config=openmoji_clip --workdir=runs/openmoji_clip

Words are random vectors (`Words`), whose meaning a small transformer learns. Its feature maps are
those of a perceptual loss: --config.weights.perceptual=runs/openmoji_clip.

Variants: `scenes`, of emoji_scenes; `siglip`, with the sigmoid loss; `minilm`, with the states of
all-MiniLM-L6-v2 as text, --config.weights.text=path.
"""

from jaxdiff import config as defaults

VARIANTS = {
    "": {},
    "scenes": {
        "data": {"name": "emoji_scenes", "shape": (64, 64, 3), "num_classes": 0},
        "transforms": (),
    },
    "siglip": {"task.loss": "sigmoid"},
    "minilm": {
        "encoders.text": {"name": "TextEncoder", "settings": "minilm_l6", "window": 24},
        "weights.text": "sentence-transformers/all-MiniLM-L6-v2",
    },
}


def get_config(variant: str = ""):
    config = defaults.default()
    config.data = {"name": "openmoji", "shape": (64, 64, 3), "num_classes": 4}
    config.transforms = ("CaptionLine",)
    config.conditions = ("text",)
    config.encoders = {"text": {"name": "Words", "features": 128, "window": 24}}
    config.weights.text = ""
    config.task = {
        "name": "Contrastive",
        "encoder": {
            "name": "ResidualClassifier",
            "channels": (16, 32, 64, 64),
            "features": 256,
        },
        "embedding": 128,
        "loss": "softmax",
        "shift": 4,
        "noise": 0.1,
        "scale": 14.0,
    }
    config.batch_size = 128
    config.optimizer = {
        "name": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "schedule": "cosine(warmup_steps=100)",
        "clip_norm": 1.0,
    }
    config.ema = "Warmup(decay=0.99)"
    config.train.steps = 2000
    config.train.log_every = 50
    config.train.checkpoint_every = 250
    config.train.evaluate_every = 250
    config.sampling.batch_size = 100
    config.evaluation.num = 400
    config.evaluation.evaluators = ("Retrieval",)
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
