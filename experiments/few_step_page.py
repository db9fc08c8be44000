"""The page docs/few_step.md and its picture, from what `few_step_oracles.py` measures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

INTRODUCTION = """# Few steps, measured against the exact flow map
"""

TITLES = {
    "three_peaks": "Three Gaussians on a line",
    "eight_gaussians": "Eight Gaussians in the plane",
}
HEADER = ("method", "teacher", "evaluations", "seconds", "map", "1 → 0", "1 step", "2", "4")


def write(out: Path, pages: Mapping[str, Any], steps: int) -> None:
    """Writes the page, and its picture with the same name."""
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION.format(steps=steps, picture=out.with_suffix(".png").name)]
    for data, (rows, floor, _) in pages.items():
        parts.append(f"## {TITLES[data]}\n\n{_table(rows, floor)}\n")
    out.write_text("\n".join(parts))
    rows, _, paths = pages[next(iter(pages))]
    _picture(rows, paths).savefig(out.with_suffix(".png"), dpi=80)


def _table(rows: Any, floor: float) -> str:
    lines = [HEADER, ("---",) * len(HEADER)]
    for row in rows:
        calls = " + ".join(f"{n} {who}" for who, n in row.calls.items())
        lines.append((
            f"`{row.method}`",
            "yes" if row.teacher else "",
            calls,
            f"{row.seconds:.0f}",
            f"{row.map_error:.3f}" if row.learns != "denoiser" else "",
            f"{row.end_error:.3f}",
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
