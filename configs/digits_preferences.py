"""Digits tuned to a taste: bright pictures, by votes or by rewards.

The model that is tuned is the teacher, a run of `configs/digits.py:flow`:

    python -m jaxdiff train --config=digits:flow --workdir=runs/flow
    python -m jaxdiff train --config=digits_preferences:nft --workdir=runs/bright \\
        --config.weights.teacher=runs/flow

Variants: "nft" (DiffusionNFT) and "grpo" (Flow-GRPO) draw pictures in each step and learn from
their rewards; "dpo" (Diffusion-DPO) learns from votes that were collected before:

    python experiments/vote.py --workdir=runs/flow --voter=Brightness --num=1000 --out=runs/votes
    python -m jaxdiff train --config=digits_preferences:dpo --workdir=runs/voted \\
        --config.weights.teacher=runs/flow

Rewards are `Brightness`, `Compressibility`, `Symmetry`, `Agreement` (the label that was asked for,
by a classifier's file), `Learned` (of votes), and mixtures. One of your own is a class
`(images, cond) -> [b]`, --config.objective.reward=my_module:Taste.
"""

from jaxdiff import config as defaults
from jaxdiff.config.recipes import load_recipe

ONLINE = "reward='Brightness', group=8, steps=8"
VARIANTS = {
    "nft": {"objective": f"DiffusionNFT(kl=1e-3, {ONLINE})"},
    "grpo": {
        "objective": f"FlowGRPO(kl=0.01, {ONLINE})",
        "optimizer.learning_rate": 1e-4,
    },
    "dpo": {
        "objective": "DiffusionDPO(beta=500.0)",
        "data": {
            "name": "votes",
            "shape": (8, 8, 1),
            "num_classes": 10,
            "file": "runs/votes/votes.jsonl",
            "channels": 1,
            "classes": 10,
        },
        "optimizer.learning_rate": 1e-4,
        # The votes are on pictures of a model, with which nothing is to be compared.
        "evaluation.evaluators": ("SampleGrid", "Taste"),
    },
}
TAUGHT = tuple(VARIANTS)


def get_config(variant: str = "nft"):
    config = load_recipe("digits:flow")
    config.weights.teacher = ""
    config.condition_dropout = 0.0
    config.optimizer.learning_rate = 3e-4
    config.optimizer.schedule = "constant(warmup_steps=10)"
    config.ema = "Warmup(decay=0.9)"
    config.train.steps = 200
    config.train.log_every = 10
    config.train.checkpoint_every = 100
    config.train.evaluate_every = 100
    config.sampling.guidance_scale = 1.0
    config.evaluation.evaluators = ("SampleGrid", "Taste", "SampleQuality")
    with config.unlocked():
        return defaults.variant(config, VARIANTS, variant)
