"""The page docs/few_step.md and its picture, from what `few_step_oracles.py` measures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

INTRODUCTION = """# Few steps, measured against the exact flow map

Of a mixture of Gaussians the flow from noise to data is known: `diffusion/oracles` integrates it to
1e-10 in float64. Every few-step objective but the two that read a guidance scale learns it here, or
a part of it, with one perceptron (64 wide, three blocks), one budget ({steps} steps of 256 points)
and one process, rectified flow.
`experiments/few_step_oracles.py` trains them, the variants of `configs/toy_few_step.py`, and writes
this page.

- **teacher**: whether the method begins from `denoising`, or `truncated_consistency` from
  `easy_consistency`; the training of these comes on top.
- **evaluations** of one training example: of the student, with or without a gradient; "jvp" of it
  with a tangent; of its average, "target"; of the teacher; of the features that a discriminator
  reads.
- **seconds** of training, without compiling, on two cores that had other work besides.
- **map**: the root mean square error, per coordinate, of x at s from x at t, for all pairs of times
  1, 0.8, ..., 0 of a flow map, and for all t and s = 0 of a consistency model. Methods that learn
  another flow, or none, have no such number.
- **1 → 0**: that error from noise to data.
- **1 step, 2, 4**: the sliced Wasserstein distance of {samples} samples to as many data, drawn by
  `FlowMap`, `Consistency` or `DDIM`, on even times. The last line is that of two sets of data.
"""

FINDINGS = """## What is seen

- Where a target is noisy, a weight that depends on the error moves the fixed point:
  `mean_flow_adaptive` has the paper's weight, `mean_flow` the plain square, and all else alike.
  Normalised tangents do the same without a teacher; `tests/objectives/test_few_step_truth.py` has
  both without training.
- With a teacher the target is not noisy, and the error is the teacher's and the network's:
  `lagrangian_distilled`, `eulerian_distilled` and `tcd` are nearest to the exact map.
- Consistency models have their errors weighed as those of the velocity (`weighting="Flow"`). With
  equal weight in x0 and no average in the target, the error on the line was 0.29 instead of 0.08.
- `multistep` knows the ways to ½ and to 0 only, so it is to be sampled in two steps.
- `progressive` has a student for each number of steps, and each its share of the budget.
- `reflow` learns another, straighter flow to the same data; `distribution_matching`, with an
  adversarial term or without, `adversarial_distillation`, `drifting` and `moment_matching` compare
  distributions: but for the last they have no reason to be near the exact map.
- `drifting` draws in one step only, and evaluates 64 samples for each of 4 labels of a batch.
- `adversarial_distillation` is led by the teacher's mean of the data as well as by its critic.
- An adversarial term takes `distribution_matching` in one step from 0.17 to 0.06 on the line; in
  the plane, where it was near the data already, to the same.
- `distribution_matching` is trained for one step here, and depends on its rates: with the generator
  as fast as the fake score it left the data, and what is in the table still drifts at the end.

![Exact trajectories and those of each model]({picture})

On the line, from noise at the left to data at the right: in grey the exact trajectories, in red
where a flow map leads from the same noise, and for the other models which end they foretell from
each point of the exact trajectory. A consistency model that is right is a horizontal line.
"""

TITLES = {
    "three_peaks": "Three Gaussians on a line",
    "eight_gaussians": "Eight Gaussians in the plane",
}
OTHER = (
    "denoising",
    "reflow",
    "distribution_matching",
    "distribution_matching_gan",
    "adversarial_distillation",
    "drifting",
)
"""Methods whose end is not that of the exact map, or not in one step."""

HEADER = ("method", "teacher", "evaluations", "seconds", "map", "1 → 0", "1 step", "2", "4")


def write(out: Path, pages: Mapping[str, Any], steps: int, samples: int) -> None:
    """Writes the page, and its picture with the same name."""
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION.format(steps=steps, samples=samples)]
    for data, (rows, floor, _) in pages.items():
        parts.append(f"## {TITLES[data]}\n\n{_table(rows, floor)}\n")
    parts.append(FINDINGS.format(picture=out.with_suffix(".png").name))
    out.write_text("\n".join(parts))
    rows, _, paths = pages[next(iter(pages))]
    _picture(rows, paths).savefig(out.with_suffix(".png"), dpi=80)


def _table(rows: Any, floor: float) -> str:
    lines = [HEADER, ("---",) * len(HEADER)]
    for row in rows:
        calls = " + ".join(f"{n} {who.removeprefix('student, ')}" for who, n in row.calls.items())
        lines.append((
            f"`{row.method}`",
            "yes" if row.teacher else "",
            calls,
            f"{row.seconds:.0f}",
            "" if row.method in OTHER or row.learns == "denoiser" else f"{row.map_error:.3f}",
            "" if row.method in OTHER else f"{row.end_error:.3f}",
            *(f"{row.distances[n]:.3f}" for n in (1, 2, 4)),
        ))  # fmt: skip
    lines.append(("two sets of data", *[""] * 5, *[f"{floor:.3f}"] * 3))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _picture(rows: Any, paths: np.ndarray) -> Figure:
    """A panel a method: the exact trajectories in grey, and what the model makes of them."""
    columns = 6
    figure = Figure(figsize=(3 * columns, 2.4 * -(-len(rows) // columns)), layout="constrained")
    times = np.linspace(1.0, 0.0, len(paths))
    for i, row in enumerate(rows):
        axes = figure.add_subplot(-(-len(rows) // columns), columns, i + 1)
        axes.plot(times, paths[..., 0], color="0.75", linewidth=2.5)
        axes.plot(times, row.paths[..., 0], color="C3", linewidth=0.9)
        axes.set_title(f"{row.method} ({row.learns})", fontsize=9)
        axes.set_xlim(1, 0)
        axes.set_ylim(-2.6, 2.6)
        axes.tick_params(labelsize=7)
    return figure
