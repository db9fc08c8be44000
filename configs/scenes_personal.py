"""A text-to-image model learns one new thing from five pictures of it: a blorb.

The base is the published model, scenes_text:few, whose captions know twelve things, and no robot:

    python -m jaxdiff train --config=scenes_personal:locon --workdir=runs/blorb
    python -m jaxdiff sample --workdir=pretrained/scenes_text --adapter=runs/blorb:0.9 \\
        --text="a blorb, on a green ground"

Variants: "locon", factors on all kernels, which a new shape needs; "lora" and "dora", on all
projections of attention; "custom", keys and values of the text alone (custom diffusion);
"dreambooth", all weights; "word", the vector of the word alone (textual inversion, Gal et al.
2023), which `run.save_word("blorb.safetensors")` writes as a file:

    python -m jaxdiff train --config=scenes_personal:word --workdir=runs/blorb_word
    python -m jaxdiff sample --workdir=pretrained/scenes_text --embedding=blorb.safetensors \\
        --text="a blorb, on a green ground"

Each sees scenes that the base knows, as often as the new thing, so that nothing is forgotten (prior
preservation, Ruiz et al. 2023). With pictures of your own, `data.of` has an image_folder in place
of emoji_character.
"""

from jaxdiff import config as defaults
from jaxdiff.config.recipes import load_recipe

BASE = "pretrained/scenes_text"
VARIANTS = {
    "lora": {"adapters": {"lora": "LoRA(rank=8)"}},
    "locon": {"adapters": {"lora": "LoRA(rank=8, modules='kernel$')"}, "train.steps": 500},
    "dora": {"adapters": {"lora": "DoRA(rank=8)"}},
    "custom": {"adapters": {"lora": "Difference()"}},
    "dreambooth": {"optimizer.learning_rate": 3e-4},
    "word": {
        "encoders.text": {"name": "OwnWords", "features": 128, "window": 24, "words": ("blorb",)},
        "adapters": {"word": "Difference(of='text', modules='^own$')"},
        "weights.network": {"source": BASE, "trained": False},
        "optimizer.learning_rate": 1e-2,
    },
}
PROMPTS = (
    "a blorb, on a blue ground",
    "a blorb, on a checked green ground",
    "a blorb left of a red heart, on a white ground",
    "two green cats, on a white ground",
)


def get_config(variant: str = "locon"):
    config = load_recipe("scenes_text:few")
    kinds, most = config.data.kinds, config.data.most
    config.data = {
        "name": "mixture",
        "shape": (64, 64, 3),
        "num_classes": 0,
        "of": (
            {"name": "emoji_character", "word": "blorb", "pictures": 5},
            {"name": "emoji_scenes", "kinds": kinds, "most": most},
        ),
    }
    config.weights.network = BASE
    config.weights.codec = "pretrained/scenes_autoencoder"
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
