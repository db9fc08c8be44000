"""The page docs/personalisation.md, of the figures that `personal_page.py` measures."""

from collections.abc import Mapping
from typing import Any

from tuned_runs import by_method

INTRODUCTION = """# Personalisation

The published model of words (`pretrained/scenes_text`) learns one new thing, a blorb, from five
pictures of it; an emoji that no scene shows stands for a person's own dog.

    python -m jaxdiff train --config=scenes_personal:locon --workdir=runs/personal/locon
    python experiments/personal_page.py --runs=runs/personal

Each method sees scenes that the base knows as often as the five pictures, so that nothing is
forgotten. A batch has 16 examples.

- **drawing**: the correlation of a sample with the drawing itself, where it is largest over places,
  sizes and angles (`jaxdiff/evaluation/templates.py`), on average: 1 is the drawing, and a blot of
  its colour has none of it, whatever lies around.
- **likeness**: the mean cosine of samples and of held-out pictures of the blorb, by
  `pretrained/scenes_clip`, which has never seen it either.
- **ground**: the difference (RMS, of values in [-1, 1]) from held-out pictures with the same
  captions, at the sides, which show the ground: does the rest of the prompt count? Less is better.
- **kinds**: of samples of things that the base knew, the share whose kind is right, as a network
  reads it that was trained on real scenes.
- **drift**: the difference (RMS) of these samples from the base's, by the same noise.

All of {num} samples, one a prompt, 8 steps of Heun's method, guidance 3.
"""

BOUNDS = """
For comparison: held-out pictures of the blorb show the drawing by {real[drawing]:.2f}, after the
autoencoder by {real[drawing after the autoencoder]:.2f}, and scenes without it by
{real[drawing of other things]:.2f}, which is nothing; their likeness is {real[likeness]:.2f} and
{real[likeness of other things]:.2f}. Sides of a blorb on another ground differ by
{real[ground of other captions]:.2f}; the reader finds the right kind in {real[kinds]:.0%} of the
real scenes. The base, which does not know the word, shows the drawing by {base[drawing]:.2f}, with
a ground of {base[ground]:.2f}, and {base[kinds]:.2f} of the kinds.

![Samples by method](personalisation.png)

- A new shape needs the convolutions: factors on all kernels (`locon`) and all weights
  (`dreambooth`) draw the face. Factors on attention alone (`lora`, `dora`), keys and values of the
  text (`custom`), and the vector of the word alone (`word`, textual inversion) learn its grey and
  its texture, a blot, that is no more the drawing than any other scene. The small U-Net has
  attention at two of its three sizes only.
- Rank is not what they lack: with 2, 8 and 32 (`lora_2`, `lora`, `lora_32`) the drawing is as
  absent; with the rank the drift grows.
- The word alone changes nothing else, to the bit; factors on attention change other pictures less
  than the methods that learn the face.
- The rest of the prompt counts as before: grounds are as right as the base's, and the kinds that it
  knew are as often right within what {num} samples can tell.
- "A blorb left of a red heart" draws the heart alone, with every method: no training picture has
  the blorb beside anything.
- The likeness by the encoder does not separate the methods: it knows kinds and grounds of scenes,
  and has no place for a robot. The drawing itself, searched in the sample, does.

## Together with a slider

The adapter of the blorb and a slider of colour (`configs/scenes_slider.py`, trained on a red and a
blue cat for 300 steps) on one base: `base.adapted({{"runs/blorb": 1.0, "runs/redder": 2.0}})`.
Beyond a strength of 1 shapes suffer.

![A cat and a blorb from blue to red](personalisation_slider.png)

Both are published, `pretrained/scenes_blorb` (1.3 MB) and `pretrained/scenes_redder` (0.5 MB), and
drawn by `make demo-control`.
"""


def page(known: Mapping[str, Any]) -> str:
    """Returns the page in Markdown."""
    rows = known["rows"]
    lines = [
        "| method | steps | trained parameters | drawing | likeness | ground | kinds | drift |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for method, step, row in by_method(rows):
        figures = (row[name] for name in ("drawing", "likeness", "ground", "kinds", "drift"))
        shown = " | ".join(f"{each:.2f}" for each in figures)
        lines.append(f"| {method} | {step} | {row['parameters']:,} | {shown} |")
    bounds = BOUNDS.format(real=rows["real"], base=rows["base"], num=known["num"])
    introduction = INTRODUCTION.format(num=known["num"])
    return "\n".join([introduction, "## Figures\n", *lines, bounds])
