"""The page docs/control.md, of the figures that `control_page.py` measures."""

from collections.abc import Mapping, Sequence
from typing import Any

INTRODUCTION = """# Control

One control network of {channels} channels, which reads eight kinds of maps alone or together,
beside the frozen model of words that is published (`pretrained/scenes_text`):

    python -m jaxdiff train --config=scenes_controlnet:all --workdir=runs/scenes_control
    python experiments/control_page.py --workdir=runs/scenes_control

It was trained for {step:,} steps of 16 scenes; each example kept each of its maps by a chance of
one in four. Maps are exact, of the scenes' truth, so what a sample makes of its map can be
measured. All figures are of {num} held-out scenes of one or two emoji, one sample each, 8 steps of
Heun's method, guidance 3.

Segments, edges, depth and key points are read back by a small U-Net that was trained on real scenes
(`evaluation/map_reading.py`); lines, grey and few pixels are computed from the pixels. What the
reader finds in the real scenes, and in what the autoencoder makes of them, is the most that a
sample can have.
"""

FIGURES = {
    "edges": "edges: F1, within a pixel",
    "lines": "lines: F1, within a pixel",
    "segments": "segments: mean IoU",
    "depth": "depth: order of things that touch",
    "key_points": "key points: error, pixels of 64 (less is better)",
    "masks": "masks: IoU of things and ground",
    "grey": "grey: RMS of the luma (less is better)",
    "low_resolution": "few pixels: RMS of 4x4 means (less is better)",
}
"""What each kind of map is measured by."""

MEANS = """
"Without" is the model of words alone, with the same captions and noise; a strength of 0 is the same
to the bit.

![Edges](control/edges.png)

Each picture has a row of maps, of samples that follow them, of samples by the same captions
without, and of the real scenes. The others:
{others}.
"""

FINDINGS = """
- Every kind is followed after 1,500 steps, an hour of one core. At a strength of 2, masks, lines
  and depth are as near to the map as the real scene after the autoencoder; edges, segments and key
  points nearly so.
- Lines give shapes that the model of words alone does not draw: guitars, keys, stars. Key points
  alone leave shapes as they were, and move and turn them.
- Strengths above 1 follow more closely still. Few pixels and grey are never exact: the control acts
  on latents, and the known pixels of an inpainting are the way to keep values.
- All maps together are about as good as each alone at twice its strength.
- The order of depth is of 13 pairs that touch, and the reader is right in nine of them on real
  scenes: take it as a sign, not as a figure.
"""

PROMPTS = """
## Does the prompt still count?

Scenes of one emoji; the reader says which kind it sees most of (of twelve; in {real:.0%} of the
real ones it is right). "Own" is with the caption of the scene, "other" with that of a scene of
another kind, so that map and words contradict each other.

| map | own: the kind is right | other: the kind of the words | other: the kind of the map |
| --- | --- | --- | --- |
"""

CONTRADICTED = """

A map helps the words where they agree: without one, the base draws the right kind in 71 %. Where
they contradict each other, key points and edges leave the choice to the words; a filled shape, or
a drawing's inner lines, divides the choice between both. Each figure is of 24 samples: differences
below 0.2 say little.
"""

GAIN = """
## The gain in the log

`control_gain` in metrics.jsonl is the distance that the map makes in the prediction of x0 (the root
mean square, on an eighth of each batch). It begins at zero to the bit, and is at half its height by
step 100; the first sheet of samples, at step 200, follows its maps already.

| step | control_gain | loss |
| --- | --- | --- |
"""


def page(known: Mapping[str, Any], kinds: Sequence[str], strengths: Sequence[float]) -> str:
    """Returns the page in Markdown."""
    figures, prompts = known["figures"], known["prompts"]
    head = ["real scenes", "autoencoder", "without", *(f"{each:g}" for each in strengths), "all"]
    rows = [["map and figure", *head], ["---"] * (len(head) + 1)]
    for kind in kinds:
        bounds = [figures[name][kind] for name in ("real", "autoencoder", "none")]
        by_strength = [figures[f"{kind} {each:g}"] for each in strengths]
        found = [*bounds, *by_strength, figures["all 1"][kind]]
        rows.append([FIGURES[kind], *(f"{each:.2f}" for each in found)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    lines = [
        f"| {kind} | {each['own']:.2f} | {each['other, of the prompt']:.2f}"
        f" | {each['other, of the map']:.2f} |"
        for kind, each in prompts.items()
    ]
    others = ", ".join(f"[{kind}](control/{kind}.png)" for kind in kinds if kind != "edges")
    introduction = INTRODUCTION.format(channels=19, step=known["step"], num=known["num"])
    parts = [introduction, "## Maps read back from samples, by strength\n", table]
    parts += [MEANS.format(others=others), FINDINGS]
    parts += [PROMPTS.format(real=prompts["none"]["real"]) + "\n".join(lines) + CONTRADICTED]
    if gains := known.get("gain"):
        shown = [each for each in gains if is_shown(each["step"])]
        rows = [f"| {e['step']} | {e['control_gain']:.3f} | {e['loss']:.3f} |" for e in shown]
        parts.append(GAIN + "\n".join(rows))
    return "\n".join(part for part in parts if part) + "\n"


def is_shown(step: int) -> bool:
    """Tells whether the gain at a step is on the page: ever farther apart."""
    return step in (20, 40, 60, 80, 100, 140, 200, 300, 400, 600, 800, 1000, 1200, 1500)
