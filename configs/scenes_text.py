"""Scenes of emoji from captions, "two red hearts left of a blue guitar, on a checked green ground".

Flow matching in the latents of an autoencoder that was trained before:

    python -m jaxdiff train  --config=openmoji_autoencoder:scenes --workdir=runs/scenes_autoencoder
    python -m jaxdiff train  --config=scenes_text:dit --workdir=runs/scenes_text_dit
    python -m jaxdiff sample --workdir=runs/scenes_text_dit --text="three blue cats" --num=8

A step costs a quarter less where scenes are painted and encoded once, before the first:

    --config.train.cache=Cache --config.train.cache.examples=20000

Variants: "" and `dit`, a transformer of 9 M parameters; `unet`, a U-Net with attention to the
words; `few`, a smaller one, on scenes of one or two emoji of 12 kinds, which hours of two cores are
enough for; `pixel`, that U-Net on pixels, without an autoencoder; `minilm`, the transformer with
the states of all-MiniLM-L6-v2, --config.weights.text=path.

Words are random vectors (`Words`): the network learns from captions alone what they mean. Captions
of the split "compositions" pair kinds with colours that training never shows together.
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
PROMPTS = (
    "a red heart, on a blue ground",
    "two green cats, on a white ground",
    "three yellow stars, on a checked purple ground",
    "a blue guitar left of a red apple, on a yellow ground",
    "an orange fish above two purple balloons, on a ground from white to green",
    "a pink key in front of a brown teddy bear, on a grey ground",
)
UNET = {
    "name": "UNet",
    "channels": (64, 128, 128),
    "layers_per_block": 2,
    "transformer_depth": (0, 1, 1),
    "head_channels": 32,
    "scale_shift": True,
    "inputs": {"text_features": 128, "pooled_features": 128},
}
FEW = (
    "apple", "balloon", "butterfly", "cat", "fish", "guitar", "heart", "key", "star", "teddy bear",
    "tree", "umbrella",
)  # fmt: skip
FEW_PROMPTS = (
    "a red heart, on a blue ground",
    "two yellow stars, on a purple ground",
    "a green cat, on a white ground",
    "a blue guitar left of a red apple, on a yellow ground",
    "an orange fish above a purple balloon, on a ground from white to green",
    "a pink umbrella, on a checked green ground",
    "a brown teddy bear, on a yellow ground",
    "a green tree right of a blue key, on a grey ground",
)
MINILM = {"name": "TextEncoder", "settings": "minilm_l6", "window": 24}
VARIANTS = {
    "": {},
    "dit": {},
    "unet": {"network": UNET},
    "few": {
        "network": {**UNET, "layers_per_block": 1},
        "data.kinds": FEW,
        "data.most": 2,
        # Shapes are decided at high noise: 4,000 steps around t = 1/2 did not learn them, and 1,000
        # around 2/3 did.
        "time_sampling": "Stratified(of=LogitNormal(mean=0.8))",
        "batch_size": 32,
        "optimizer.learning_rate": 8e-4,
        "train.steps": 4000,
        "evaluation.evaluators": (
            {"name": "SampleGrid", "cond": {"text": list(FEW_PROMPTS)}},
            "HeldOutLoss",
        ),
    },
    "pixel": {
        "network": {**UNET, "channels": (32, 64, 128, 128), "transformer_depth": (0, 0, 1, 1)},
        "codec": {"name": "Pixels"},
        "weights.codec": "",
    },
    "minilm": {
        "encoders.text": MINILM,
        "weights.text": "sentence-transformers/all-MiniLM-L6-v2",
        "network.inputs": {"text_features": 384, "pooled_features": 384},
    },
}


def get_config(variant: str = ""):
    config = defaults.default()
    config.data = {"name": "emoji_scenes", "shape": (64, 64, 3), "num_classes": 0}
    config.codec = {"name": "RunLatents", "autoencoder": AUTOENCODER}
    config.conditions = ("text",)
    config.encoders = {"text": {"name": "Words", "features": 128, "window": 24}}
    config.weights.codec = "runs/scenes_autoencoder"
    config.weights.text = ""
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
    config.batch_size = 64
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
    config.sampling.batch_size = 48
    config.evaluation.num = 256
    config.evaluation.evaluators = (
        {"name": "SampleGrid", "cond": {"text": list(PROMPTS)}},
        "HeldOutLoss",
    )
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
