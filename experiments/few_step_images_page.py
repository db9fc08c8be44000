"""The page docs/few_step_images.md and its picture, from what `few_step_images.py` measures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from jaxdiff import Run
from jaxdiff.evaluation.figures import INK, new_figure, save_figure

INTRODUCTION = """# Few steps on images

A teacher with labels on Fashion-MNIST (28x28, U-Net of 1.5 M parameters) and its students, the
variants of `configs/fashion_mnist_few_step.py`. Every student begins from the teacher's weights.
`experiments/few_step_images.py` measures them and writes this page.

- **distance**: Fréchet distance to the 10,000 test images in the features of a small classifier;
  **kernel**: the kernel distance; neither is comparable with figures in Inception's features.
- **precision**, **recall**: of k nearest neighbours (Kynkäänniemi et al. 2019).
- **class**: how often that classifier sees the class that was asked for.
- **score**: the accuracy on test images of a classifier that was trained on the samples.
- **ms**: a sample's time on two cores, which had other work besides.

All from {num} samples of each model, without guidance but for `latent_consistency`, which has the
scale in its weights.
"""

FINDINGS = """## What is seen

On 2026-11-30 all students had a budget of 500 steps of 64 images, some ten minutes of one core;
`distribution_matching`, which trains two networks, took 25.

- `tcd` in four steps is within 11 % of its teacher in fifty, at a tenth of the time; in two steps
  it and `consistency_distillation` are at 1.8 times the distance. More training was not tried.
- `mean_flow_distilled` is still its teacher: 500 steps are too few for the embedding of the second
  time, which begins at zero.
- `easy_consistency` has no teacher to lean on, and falls apart: with four stages of 125 steps as
  in the table, and more with eight. The authors close the gap over many thousands of steps.
- `distribution_matching` is best in two steps, and leaves the data in more: its generator learns
  from what it draws itself in few.
- `latent_consistency` has its teacher's guidance within: of all, the class is right most often and
  precision highest, recall and distance pay for it, as guidance has it.
- Fewer noise levels smooth: precision and the class that is seen are highest for the teacher in two
  steps, recall is lowest. A distance or a grid alone would not say so.
"""

HEADER = ("method", "trained", "steps", "distance", "kernel", "precision", "recall", "class")
HEADER += ("score", "ms")


def write(
    out: Path,
    rows: Mapping[str, Any],
    real: Mapping[str, float],
    pictures: Mapping[str, np.ndarray],
    num: int,
) -> None:
    """Writes the page, and its picture with the same name."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = [HEADER, ("---",) * len(HEADER)]
    for name, row in rows.items():
        for steps, figures in row["by_steps"].items():
            lines.append((f"`{name}`", f"{row['step']}", steps, *_cells(figures)))
    lines.append((f"{num} training images", "", "", *_cells(real)))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    picture = out.with_suffix(".png").name
    summary = _summary(rows)
    text = [
        INTRODUCTION.format(num=num),
        table,
        "",
        summary,
        "",
        FINDINGS,
        f"![Samples]({picture})",
        "",
        "Runs at hand are drawn by the script; pictures of earlier runs were put above by hand.",
        "",
    ]
    out.write_text("\n".join(text))
    save_picture(out.with_suffix(".png"), pictures)


def _cells(figures: Mapping[str, float]) -> list[str]:
    names = ("frechet_distance", "kernel_distance", "precision", "recall", "class_accuracy")
    digits = {"frechet_distance": 2, "kernel_distance": 4, "milliseconds": 1}
    return [
        f"{figures[name]:.{digits.get(name, 3)}f}" if name in figures else ""
        for name in (*names, "classification_score", "milliseconds")
    ]


def _summary(rows: Mapping[str, Any]) -> str:
    distance = lambda row, steps: row["by_steps"][steps]["frechet_distance"]
    teacher, students = rows["teacher"], {k: v for k, v in rows.items() if k != "teacher"}
    most = max(teacher["by_steps"], key=int)
    if not students:
        return f"The teacher's distance in {most} steps is {distance(teacher, most):.2f}."
    best = min(students, key=lambda name: distance(students[name], "2"))
    found, aim = distance(students[best], "2"), distance(teacher, most)
    return (
        f"The best student in two steps is `{best}`: {found:.2f}, {found / aim:.2f} times the"
        f" teacher's {aim:.2f} in {most} steps."
    )


def grid(run: Run, steps: int) -> np.ndarray:
    """Returns samples [classes, 6, h, w, c] of seed 0: the same noise for all runs."""
    classes = run.num_classes
    samples = run.sample(6 * classes, {"label": np.repeat(np.arange(classes), 6)}, steps=steps)
    return samples.reshape(classes, 6, *samples.shape[1:])


def save_picture(path: Path, pictures: Mapping[str, np.ndarray]) -> None:
    """Writes grids of images [rows, columns, h, w, 1] beside each other, each with its title."""
    figure, panels = new_figure(len(pictures), size=(2.2, 3.6), columns=min(8, len(pictures)))
    for axes in panels:
        axes.axis("off")
    for axes, (name, images) in zip(panels, pictures.items(), strict=False):
        sheet = rearrange(images, "rows columns h w 1 -> (rows h) (columns w)")
        axes.imshow(sheet, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_title(name, fontsize=7, color=INK)
    save_figure(path, figure)
