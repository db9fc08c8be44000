"""Emoji scenes that follow maps: edges, lines, segments, depth, key points, masks, grey, pixels.

A control network beside the frozen U-Net of the published model, scenes_text:few:

    python -m jaxdiff train --config=scenes_controlnet:edges --workdir=runs/scenes_edges

Variants: one of each kind of map, and `all`, a network that reads all of them, alone or together.
It begins as a copy of the U-Net's encoder, and as no change. `control_gain`
in metrics.jsonl is the distance that the map makes in the prediction: it rises from zero as the
network learns to read the map. A sheet of maps, of samples with and without them and of the real
scenes is written to samples/. Maps are exact: they come from the scene, not from its pixels. From a
notebook, with maps [64, 64, channels] in [0, 1]:

    run = jaxdiff.load("runs/scenes_edges")
    run.sample(8, {"text": "a red cat, on a blue ground"}, control=edges)
    run = jaxdiff.load("runs/scenes_control")  # of all
    run.sample(8, {"text": "a red cat, on a blue ground"}, control={"edges": edges})
"""

from jaxdiff import config as defaults
from jaxdiff.config.recipes import load_recipe
from jaxdiff.data.maps import CHANNELS, OF_TRUTH, ControlMaps

ALL = ("edges", "lines", "segments", "depth", "key_points", "masks", "grey", "low_resolution")
OF_ALL = {
    "transforms": (f"ControlMaps(of={ALL}, keep=0.25)",),
    "control": {"channels": ControlMaps(ALL).channels},
    "data.fields": ("text", *OF_TRUTH.values()),
    "train.steps": 1500,
    "optimizer.schedule": "cosine(warmup_steps=100)",
}


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
        return defaults.variant(
            config, {kind: of_one(kind) for kind in ALL} | {"all": OF_ALL}, variant
        )


def of_one(kind):
    """Returns the fields of a network for maps of one kind."""
    field = OF_TRUTH.get(kind)  # the others are made of the pixels
    return {
        "transforms": (f"ControlMap(of={kind!r})",),
        "control": {"channels": CHANNELS[kind]},
        "data.fields": ("text", *([field] if field else [])),
    }
