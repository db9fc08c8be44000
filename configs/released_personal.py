"""A released model learns a new word from a few pictures: textual inversion, custom diffusion.

The pictures lie in one folder within `data.folder`:

    python -m jaxdiff train --config=released_personal:word --workdir=runs/mine \\
        --config.data.folder=pictures --config.encoders.text.begin=toy
    jaxdiff.load("runs/mine").save_word("mine.safetensors")     # public tools read it
    python -m jaxdiff generate --model=path/to/it --embedding=mine.safetensors --prompt="a mine"

Variants: "word", the vectors of the word alone, for Stable Diffusion 1.5 (Gal et al. 2023);
"custom", keys and values of the text, and the word (Kumari et al. 2023); "sdxl_word" and
"sdxl_custom". Weights are read from the hub, or from folders, as in
`configs/stable_diffusion_15.py` and `sdxl.py`; the network's by
--config.weights.network.source=unet.
"""

from jaxdiff.config.recipes import load_recipe

WORD = ("<mine>", 2)
TEMPLATES = (
    "a photo of {}",
    "a close-up photo of {}",
    "a rendering of {}",
    "{} in the middle of the picture",
)
BASES = {
    "": ("stable_diffusion_15", "stable-diffusion-v1-5/stable-diffusion-v1-5/unet"),
    "sdxl": ("sdxl", "stabilityai/stable-diffusion-xl-base-1.0/unet"),
}
ADAPTERS = {
    "word": {"word": "Difference(of='text', modules='^own')"},
    "custom": {"word": "Difference(of='text', modules='^own')", "custom": "Difference()"},
}
ENCODERS = {"": ("text",), "sdxl": ("text.clip_l", "text.bigg")}
RATES = {"word": 5e-3, "custom": 1e-4}


def get_config(variant: str = "word"):
    base, _, kind = variant.rpartition("_")
    known = [f"{name}_{kind}".lstrip("_") for name in BASES for kind in ADAPTERS]
    if variant not in known:
        raise ValueError(f"no variant {variant!r}; known: {', '.join(known)}")
    recipe, unet = BASES[base]
    config = load_recipe(recipe)
    config.data.update(captions=False, num_classes=1)
    config.transforms += (f"Caption(template={TEMPLATES}, class_names=('{WORD[0]}',))",)
    with config.unlocked(), config.ignore_type():
        config.update_from_flattened_dict(
            {f"encoders.{name}.words": (WORD,) for name in ENCODERS[base]}
            | {"adapters": ADAPTERS[kind], "weights.network": {"source": unet, "trained": False}}
        )
    config.condition_dropout = 0.0
    config.batch_size = 4
    config.optimizer.update(learning_rate=RATES[kind], weight_decay=0.0)
    config.optimizer.schedule = "constant(warmup_steps=0)"
    config.ema = "Warmup(decay=0.99)"
    config.parallel = "jit"
    config.train.update(steps=2000, checkpoint_every=200, evaluate_every=200, log_every=20)
    prompts = [f"a photo of {WORD[0]}", f"a drawing of {WORD[0]} on a hill"]
    config.evaluation.evaluators = (f"SampleGrid(cond={{'text': {prompts}}})",)
    return config
