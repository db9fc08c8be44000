"""A model of scenes tuned to a taste by votes or by rewards, as a LoRA beside it.

The base is the published model, scenes_text:few, which is also the teacher:

    python experiments/vote.py --workdir=pretrained/scenes_text --num=300 --voter=Brightness \\
        --temperature=0 --captions --steps=8 --out=runs/scene_votes
    python -m jaxdiff train --config=scenes_preferences:dpo --workdir=runs/brighter
    python -m jaxdiff sample --workdir=pretrained/scenes_text --text="a red cat" \\
        --adapter=runs/brighter:1.0

Variants: "dpo" (Diffusion-DPO) learns from votes that were collected before; "nft" (DiffusionNFT)
and "grpo" (Flow-GRPO) draw pictures in each step, by captions of the data, and learn from their
rewards. Without --voter, vote.py is a page for persons. Rewards that read what was asked for:
"aligned", how well a picture fits its text by a contrastive encoder, and "counts", whether there
are as many emoji, by a classifier:

    python experiments/scene_kinds.py --model=pretrained/scenes_text --of=count --num=0 \\
        --save=runs/counts.npz
"""

from jaxdiff import config as defaults
from jaxdiff.config.recipes import load_recipe

BASE = "pretrained/scenes_text"
ONLINE = "group=4, steps=6"
ALIGNED = "'jaxdiff.tasks.alignment:PromptAlignment(run=\"pretrained/scenes_clip\")'"
COUNTS = "Agreement(file='runs/counts.npz', field='count')"
VARIANTS = {
    "dpo": {
        "objective": "DiffusionDPO(beta=1000.0)",
        "data": {
            "name": "votes",
            "shape": (64, 64, 3),
            "num_classes": 0,
            "file": "runs/scene_votes/votes.jsonl",
        },
    },
    "nft": {"objective": f"DiffusionNFT(kl=1e-3, reward='Brightness', {ONLINE})"},
    "grpo": {"objective": f"FlowGRPO(kl=0.01, reward='Brightness', {ONLINE})"},
    "aligned": {"objective": f"DiffusionNFT(kl=1e-3, reward={ALIGNED}, {ONLINE})"},
    "counts": {
        "objective": f"DiffusionNFT(kl=1e-3, reward={COUNTS}, {ONLINE})",
        "data.fields": ("text", "count"),
    },
}
PROMPTS = ("a red heart, on a blue ground", "a green cat, on a brown ground")


def get_config(variant: str = "dpo"):
    config = load_recipe("scenes_text:few")
    config.weights.network = config.weights.teacher = BASE
    config.weights.codec = "pretrained/scenes_autoencoder"
    config.condition_dropout = 0.0
    config.batch_size = 16
    config.optimizer.learning_rate = 5e-4
    config.optimizer.schedule = "constant(warmup_steps=10)"
    config.ema = "Warmup(decay=0.9)"
    config.train.steps = 100
    config.train.log_every = 10
    config.train.checkpoint_every = 50
    config.train.evaluate_every = 50
    config.sampling.steps = 10
    config.evaluation.num = 32
    config.evaluation.evaluators = ({"name": "SampleGrid", "cond": {"text": list(PROMPTS)}},)
    with config.unlocked(), config.ignore_type():
        config.adapters = {"liked": "LoRA(rank=8)"}
        return defaults.variant(config, VARIANTS, variant)
