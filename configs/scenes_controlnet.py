"""Emoji scenes that follow a map: edges, a line drawing, segments, depth, masks, grey, few pixels.

A control network beside the frozen transformer of scenes_text:dit, which was trained before:

    python -m jaxdiff train --config=scenes_text:dit --workdir=runs/scenes_text_dit
    python -m jaxdiff train --config=scenes_controlnet:edges --workdir=runs/scenes_edges \\
        --config.weights.network=runs/scenes_text_dit --config.weights.codec=runs/scenes_autoencoder

It begins as a copy of the first half of the transformer's blocks, and as no change. `control_gain`
in metrics.jsonl is the distance that the map makes in the prediction: it rises from zero long
before pictures follow the map. A sheet of maps, of samples with and without them and of the real
scenes is written to samples/. Maps are exact: they come from the scene, not from its pixels. From a
notebook, with maps [64, 64, channels] in [0, 1]:

    run = jaxdiff.load("runs/scenes_edges")
    run.sample(8, {"text": "a red cat, on a blue ground"}, control=edges)
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
"""That of scenes_text, as the text's width and the network are."""

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
    config = defaults.default()
    config.data = {"name": "emoji_scenes", "shape": (64, 64, 3), "num_classes": 0}
    config.codec = {"name": "RunLatents", "autoencoder": AUTOENCODER}
    config.conditions = ("text",)
    config.encoders = {"text": {"name": "Words", "features": 128, "window": 24}}
    config.weights.codec = "runs/scenes_autoencoder"
    config.weights.network = "runs/scenes_text_dit"
    config.weights.text = ""
    config.weights.control = ""
    config.network = {
        "name": "DiT",
        "features": 256,
        "depth": 6,
        "num_heads": 4,
        "qk_norm": "head",
        "inputs": {"text_features": 128, "pooled_features": 128},
    }
    config.process = "RectifiedFlow"
    config.parameterization = "velocity"
    config.time_sampling = "Stratified(of=LogitNormal())"
    config.batch_size = 16
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine(warmup_steps=50)"
    config.ema = "Warmup(decay=0.99)"
    config.train.steps = 600
    config.train.log_every = 20
    config.train.checkpoint_every = 200
    config.train.evaluate_every = 200
    config.sampling.solver = "Heun"
    config.sampling.steps = 10
    config.sampling.guidance_scale = 3.0
    config.sampling.batch_size = 16
    config.evaluation.num = 64
    config.evaluation.evaluators = ({"name": "ControlGrid", "shown": 8}, "HeldOutLoss")
    with config.unlocked():
        defaults.variant(config, {"": {}, **{name: {} for name in MAPS}}, variant)
        field, channels = MAPS[variant or "edges"]
        config.data.fields = ("text", *([field] if field else []))
        config.transforms = (f"ControlMap(of={variant or 'edges'!r})",)
        config.control = {"channels": channels, "depth": 3}
    return config
