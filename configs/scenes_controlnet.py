"""Emoji scenes that follow a map: edges, a line drawing, segments, depth, masks, grey, few pixels.

A control network beside the frozen U-Net of the published model, scenes_text:few:

    python -m jaxdiff train --config=scenes_controlnet:edges --workdir=runs/scenes_edges

It begins as a copy of the U-Net's encoder, and as no change. `control_gain`
in metrics.jsonl is the distance that the map makes in the prediction: it rises from zero long
before pictures follow the map. A sheet of maps, of samples with and without them and of the real
scenes is written to samples/. Maps are exact: they come from the scene, not from its pixels. From a
notebook, with maps [64, 64, channels] in [0, 1]:

    run = jaxdiff.load("runs/scenes_edges")
    run.sample(8, {"text": "a red cat, on a blue ground"}, control=edges)
"""

from jaxdiff import config as defaults
from jaxdiff.config.recipes import load_recipe

MAPS = {
    "edges": ("edges", 1),
    "lines": ("", 1),
    "segments": ("segmentation", 3),
    "depth": ("depth", 1),
    "masks": ("masks", 4),
    "grey": ("", 1),
    "low_resolution": ("", 3),
}
"""By variant, the field of the scene that its map is made of ("": its pixels), and channels."""


def get_config(variant: str = "edges"):
    config = load_recipe("scenes_text:few")
    config.weights.network = "pretrained/scenes_text"
    config.weights.codec = "pretrained/scenes_autoencoder"
    config.weights.control = ""
    config.batch_size = 16
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine(warmup_steps=50)"
    config.ema = "Warmup(decay=0.99)"
    config.train.steps = 600
    config.train.log_every = 20
    config.train.checkpoint_every = 200
    config.train.evaluate_every = 200
    config.sampling.steps = 10
    config.sampling.batch_size = 16
    config.evaluation.num = 64
    config.evaluation.evaluators = ({"name": "ControlGrid", "shown": 8}, "HeldOutLoss")
    with config.unlocked():
        defaults.variant(config, {"": {}, **{name: {} for name in MAPS}}, variant)
        field, channels = MAPS[variant or "edges"]
        config.data.fields = ("text", *([field] if field else []))
        config.transforms = (f"ControlMap(of={variant or 'edges'!r})",)
        config.control = {"channels": channels}
    return config
