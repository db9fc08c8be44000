"""The page docs/preferences_words.md, of the figures that `preferences_page.py` measures."""

from collections.abc import Mapping
from typing import Any

from tuned_runs import by_method

INTRODUCTION = """# Preferences of pictures from words

The published model of words (`pretrained/scenes_text`) is tuned to a taste that anybody can see,
brightness, as a LoRA of rank 8 on its attention.

    python experiments/vote.py --workdir=pretrained/scenes_text --num=96 --voter=Brightness \\
        --temperature=0 --captions --steps=6 --out=runs/scene_votes
    python -m jaxdiff train --config=scenes_preferences:dpo --workdir=runs/preferences/dpo
    python -m jaxdiff train --config=scenes_preferences:nft --workdir=runs/preferences/nft
    python -m jaxdiff train --config=scenes_preferences:grpo --workdir=runs/preferences/grpo
    python experiments/preferences_page.py --runs=runs/preferences

- **reward**: the mean of all values of the samples, from -1 (black) to 1 (white).
- **variety**: the difference (RMS, of values in [-1, 1]) of two samples of one prompt.
- **kinds**: the share of samples whose kind is right, as a network reads it that was trained on
  real scenes.
- **ground**: the difference (RMS) at the sides from the real picture of the same caption: is the
  ground that was asked for still there?
- **drift**: the difference (RMS) from the base's samples by the same noise.

All of {num} prompts, with one emoji each, 8 steps of Heun's method, guidance 3.

## Figures

| method | steps | reward | variety | kinds | ground | drift |
| --- | --- | --- | --- | --- | --- | --- |
"""


def page(known: Mapping[str, Any]) -> str:
    """Returns the page in Markdown."""
    rows = known["rows"]
    lines = [row("real, after the autoencoder", "", rows["real"]), row("base", 0, rows["base"])]
    lines += [row(*each) for each in by_method(rows)]
    return INTRODUCTION.format(num=known["num"]) + "\n".join(lines) + SEEN


def row(method: str, step: int | str, figures: Mapping[str, float]) -> str:
    """Returns a row of the table; a figure that is unknown is left empty."""
    names = ("reward", "variety", "kinds", "ground", "drift")
    shown = (f"{figures[name]:.2f}" if name in figures else "" for name in names)
    return f"| {method} | {step} | {' | '.join(shown)} |"


SEEN = """

![Samples by method](preferences_words.png)
"""
