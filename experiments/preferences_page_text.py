"""The page docs/preferences_words.md, of the figures that `preferences_page.py` measures."""

from collections.abc import Mapping
from typing import Any

from tuned_runs import by_method

INTRODUCTION = """# Preferences of pictures from words

The published model of words (`pretrained/scenes_text`) is tuned by LoRAs of rank 8 on its
attention: to a taste that anybody can see, brightness, by votes (`dpo`, Diffusion-DPO) and by the
reward itself (`nft`, DiffusionNFT; `grpo`, Flow-GRPO); and, by DiffusionNFT, to rewards that read
what was asked for: the number of emoji (`counts`) and the text (`aligned`).

    python experiments/vote.py --workdir=pretrained/scenes_text --num=96 --voter=Brightness \\
        --temperature=0 --captions --steps=6 --out=runs/scene_votes
    python experiments/scene_kinds.py --model=pretrained/scenes_text --of=count --num=0 \\
        --save=runs/counts.npz
    python experiments/scene_kinds.py --model=pretrained/scenes_text --of=count --num=0 --seed=1 \\
        --save=runs/other_counts.npz
    python -m jaxdiff train --config=scenes_preferences:nft --workdir=runs/preferences/nft \\
        --config.train.steps=240
    python experiments/preferences_page.py --runs=runs/preferences

- **reward**: the mean of all values of the samples, from -1 (black) to 1 (white).
- **variety**: the difference (RMS, of values in [-1, 1]) of two samples of one prompt.
- **size**: the share of the picture that is no ground, as a network reads it that was trained on
  real scenes; **kinds**, the share of samples whose kind is right, by the same network.
- **ground**: the difference (RMS) at the sides from the real picture of the same caption: is the
  ground that was asked for still there?
- **counts**: of prompts with one or two emoji, the share of samples with as many, by another
  classifier than the one that taught.
- **alignment**: the mean cosine of picture and text, by `pretrained/scenes_clip`, which taught.
- **drift**: the difference (RMS) from the base's samples by the same noise.

All of {num} prompts, with one emoji each, and {twice} for counts; 8 steps of Heun's method,
guidance 3.

## Figures

| method | steps | reward | variety | size | kinds | ground | counts | alignment | drift |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def page(known: Mapping[str, Any]) -> str:
    """Returns the page in Markdown."""
    rows = known["rows"]
    lines = [row("real, after the autoencoder", "", rows["real"]), row("base", 0, rows["base"])]
    lines += [row(*each) for each in by_method(rows)]
    numbers = {"num": known["num"], "twice": 2 * known["num"]}
    return INTRODUCTION.format(**numbers) + "\n".join(lines) + SEEN.format(**numbers)


def row(method: str, step: int | str, figures: Mapping[str, float]) -> str:
    """Returns a row of the table; a figure that is unknown is left empty."""
    names = "reward", "variety", "size", "kinds", "ground", "counts", "alignment", "drift"
    digits = {"reward": 3, "alignment": 3}
    shown = (f"{figures[n]:.{digits.get(n, 2)}f}" if n in figures else "" for n in names)
    return f"| {method} | {step} | {' | '.join(shown)} |"


SEEN = """

![Samples by method](preferences_words.png)

- **The reward is followed, and hacked.** DiffusionNFT makes pictures brighter step by step, and
  none of them ignores its ground: it makes the things smaller. Fewer samples have as many things as
  were asked for, half of them in place of two thirds, and the variety falls. No figure of
  brightness would have said so.
- Flow-GRPO moves in the same direction, and more slowly: a step costs four times as much, since
  every step of the solver has a gradient.
- Diffusion-DPO fits the votes (its log: after 100 steps 84 % of the pairs agree, half before) and
  brightens samples by a seventh of what DiffusionNFT does, with a third of its drift: within a
  prompt two pictures differ little in brightness, and 96 pairs teach no more. From 300 to 400 steps
  nothing is gained.
- A reward that is full teaches nothing: by the encoder of `aligned`, real pictures fit their texts
  by 0.89 and the base's samples by 0.90, and after 240 steps nothing has moved. Nor has the share
  of right counts by `counts`, beyond what {twice} samples can tell.
"""
