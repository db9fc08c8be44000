"""The page docs/few_step_images.md and its pictures, from what `few_step_images.py` measures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from PIL import Image

from jaxdiff import Run
from jaxdiff.files import atomic_write

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

On 2026-11-30 and 2026-12-01 all students had a budget of 500 steps of 64 images, some ten minutes
of one core; `distribution_matching`, which trains two networks, and `reflow`, whose pairs the
teacher draws, took 25, and the two Lagrangian maps 30 to 55 beside other work. The logs of
the second day are in few_step_images/logs.

- Consistency models are best in one step and in two: `improved_consistency`, without a teacher, is
  at 1.79 and 1.23 where the network that it began as is at 23.92 and 7.80; `sct`, without
  intervals, at 2.30 and 1.32. `reflow` is second in one step. In four steps `tcd` is within 11 % of
  its teacher in fifty, at a tenth of the time; `alpha_flow` in eight is as near as that teacher.
- The aim, a student in two steps within 10 % of the teacher's 0.72 in fifty, is not reached: the
  best is at 1.7 times. Other times of the second step changed little (1.21 to 1.44). More training
  was not tried.
- Continuous time, `sct` and `scd`, is learned slowly or not at all: with the others' rate of 5e-4,
  and the whole tangent after 100 steps instead of 400, they were at 17.0 and 20.7 in one step; with
  1e-4 they are at 2.30 and 2.79.
- `easy_consistency` leaves the data: with four stages of 125 steps as in the table, more with
  eight, and with 1e-4 its gradients grew as fast. The authors need many thousands of steps.
- The flow maps of data, `mean_flow`, `improved_mean_flow`, `alpha_flow`, `shortcut`, have begun to
  learn: 0.4 to 0.65 of the distance in one and two steps, and the class is right more often than
  the teacher's. `mean_flow_distilled` is still its teacher: the embedding of the second time begins
  at zero.
- `progressive` is a student of four steps, from eight of its teacher's, and at 0.6 of its distance
  there.
- `moment_matching` and `distribution_matching` are best in four and in two steps, and leave the
  data in more: each step draws its own noise anew, or was not learned.
- `latent_consistency` has its teacher's guidance within: of all, the class is right most often and
  precision highest, recall and distance pay for it, as guidance has it.
- Fewer noise levels smooth: precision and the class that is seen are highest for the teacher in two
  steps, recall is lowest. A distance or a grid alone would not say so.
"""

HEADER = ("method", "trained", "steps", "distance", "kernel", "precision", "recall", "class")
HEADER += ("score", "ms")


COLUMNS = 4
"""Samples of a class in a picture."""


def write(out: Path, rows: Mapping[str, Any], real: Mapping[str, float], num: int) -> None:
    """Writes the page, with a table of the pictures that lie in its folder."""
    lines = [HEADER]
    for name, row in rows.items():
        for steps, figures in row["by_steps"].items():
            lines.append((f"`{name}`", f"{row['step']}", steps, *_cells(figures)))
    lines.append((f"{num} training images", "", "", *_cells(real)))
    text = [
        INTRODUCTION.format(num=num),
        _table(lines),
        "",
        _summary(rows),
        "",
        FINDINGS,
        "All from the same noise:",
        "",
        _gallery(out, rows),
        "",
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(text))


def _table(lines: Sequence[Sequence[str]]) -> str:
    header, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ("---",) * len(header), *rest))


def _gallery(out: Path, rows: Mapping[str, Any]) -> str:
    """Returns a table: a method a row, a number of steps a column."""
    columns = sorted({steps for row in rows.values() for steps in row["by_steps"]}, key=int)
    lines = [("method", *(f"{steps} step{'s' * (steps != '1')}" for steps in columns))]
    for name in rows:
        found = [picture_path(out, name, steps) for steps in columns]
        links = [f"![{path.stem}]({path.parent.name}/{path.name})" for path in found]
        shown = [link if path.exists() else "" for link, path in zip(links, found, strict=True)]
        lines.append((f"`{name}`", *shown))
    return _table(lines)


def picture_path(out: Path, name: str, steps: int | str) -> Path:
    """Returns where the page has the picture of a method's samples."""
    return out.with_suffix("") / f"{name}_{steps}.png"


def draw(run: Run, steps: int, path: Path) -> None:
    """Writes samples of seed 0, a class a row: the same noise for all runs."""
    labels = np.repeat(np.arange(run.num_classes), COLUMNS)
    samples = run.sample(len(labels), {"label": labels}, steps=steps)
    sheet = rearrange(samples, "(r q) h w 1 -> (r h) (q w)", q=COLUMNS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        pixels = np.clip(127.5 * (sheet + 1), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(temporary, format="PNG", optimize=True)


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
