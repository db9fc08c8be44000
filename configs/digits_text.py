"""Handwritten digits by captions, "a handwritten digit seven": text conditioning in minutes.

Captions are made of the classes; all-MiniLM-L6-v2 (22 M parameters) encodes them, its weights read
from the hub or from a folder, --config.weights.text=path.
"""

from jaxdiff import config as defaults

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def get_config():
    config = defaults.default()
    config.data = {"name": "digits", "shape": (8, 8, 1), "num_classes": 10}
    config.transforms = (
        {
            "name": "Caption",
            "template": ("a handwritten digit {}", "the number {}", "{}"),
            "class_names": WORDS,
        },
    )
    config.conditions = ("text",)
    config.encoders = {
        "text": {
            "name": "TextEncoder",
            "settings": "minilm_l6",
            "window": 8,
        }
    }
    config.weights.text = "sentence-transformers/all-MiniLM-L6-v2"
    config.network = {
        "name": "UNet",
        "channels": (24, 48),
        "layers_per_block": 1,
        "transformer_depth": (0, 1),
        "head_channels": 24,
        "scale_shift": True,
        "inputs": {"text_features": 384, "pooled_features": 384},
    }
    config.batch_size = 64
    config.optimizer.learning_rate = 3e-3
    config.optimizer.schedule = "cosine(warmup_steps=50)"
    config.ema = "Warmup(decay=0.99)"
    config.train.steps = 600
    config.train.log_every = 20
    config.train.checkpoint_every = 300
    config.train.evaluate_every = 300
    config.sampling.solver = "DPMpp2M"
    config.sampling.steps = 20
    config.sampling.guidance_scale = 1.5
    config.sampling.batch_size = 80
    config.evaluation.evaluators = (
        {"name": "SampleGrid", "cond": {"text": [f"a handwritten digit {word}" for word in WORDS]}},
    )
    return config
