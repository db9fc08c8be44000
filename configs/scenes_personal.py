"""A text-to-image model learns one new thing from five pictures of it: a blorb.

The base is a run of `configs/scenes_text.py`; its captions know 58 things, and no robot:

    python -m jaxdiff train --config=scenes_personal:lora --workdir=runs/blorb \\
        --config.weights.network=runs/scenes_text_dit
    python -m jaxdiff sample --workdir=runs/scenes_text_dit --adapter=runs/blorb:0.9 \\
        --text="a blorb, on a green ground"

Variants: "lora", factors on all projections of attention; "dora"; "custom", keys and values of the
text alone (custom diffusion); "dreambooth", all weights; "word", the vector of the word alone
(textual inversion, Gal et al. 2023), which `run.save_word("blorb.safetensors")` writes as a file:

    python -m jaxdiff train --config=scenes_personal:word --workdir=runs/blorb_word \\
        --config.weights.network.source=runs/scenes_text_dit
    python -m jaxdiff sample --workdir=runs/scenes_text_dit --embedding=blorb.safetensors \\
        --text="a blorb, on a green ground"

Each sees scenes that the base knows, as often as the new thing, so that nothing is forgotten (prior
preservation, Ruiz et al. 2023). With pictures of your own, `data.of` has an image_folder in place
of emoji_character.
"""

from jaxdiff import config as defaults
from jaxdiff.config.recipes import load_recipe

VARIANTS = {
    "lora": {"adapters": {"lora": "LoRA(rank=8)"}},
    "dora": {"adapters": {"lora": "DoRA(rank=8)"}},
    "custom": {"adapters": {"lora": "Difference()"}},
    "dreambooth": {"optimizer.learning_rate": 1e-4},
    "word": {
        "encoders.text": {"name": "OwnWords", "features": 128, "window": 24, "words": ("blorb",)},
        "adapters": {"word": "Difference(of='text', modules='^own$')"},
        "weights.network": {"source": "runs/scenes_text_dit", "trained": False},
        "optimizer.learning_rate": 1e-2,
    },
}
PROMPTS = (
    "a blorb, on a blue ground",
    "a blorb, on a checked green ground",
    "a blorb left of a red heart, on a white ground",
    "two green cats, on a white ground",
)


def get_config(variant: str = "lora"):
    config = load_recipe("scenes_text:dit")
    config.data = {
        "name": "mixture",
        "shape": (64, 64, 3),
        "num_classes": 0,
        "of": (
            {"name": "emoji_character", "word": "blorb", "pictures": 5},
            {"name": "emoji_scenes"},
        ),
    }
    config.weights.network = "runs/scenes_text_dit"
    config.batch_size = 16
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant(warmup_steps=20)"
    config.ema = "Warmup(decay=0.98)"
    config.train.steps = 300
    config.train.log_every = 20
    config.train.checkpoint_every = 100
    config.train.evaluate_every = 100
    config.evaluation.evaluators = ({"name": "SampleGrid", "cond": {"text": list(PROMPTS)}},)
    with config.unlocked(), config.ignore_type():
        return defaults.variant(config, VARIANTS, variant)
