"""The look of all figures: colours, axes, smoothed curves."""

import os
from typing import Any

import numpy as np

from jaxdiff.files import atomic_write

INK, ACCENT, PALE = "#333333", "#1f5fa8", "#aab2bc"


def smoothed(values: np.ndarray) -> np.ndarray:
    """Returns moving averages of the finite values, over a twelfth of the curve."""
    window = np.ones(2 * (len(values) // 25) + 1)
    finite = np.isfinite(values)
    totals = np.convolve(np.where(finite, values, 0.0), window)
    counts = np.convolve(finite.astype(float), window)
    middle = slice(len(window) // 2, len(window) // 2 + len(values))
    return totals[middle] / np.where(counts > 0, counts, np.nan)[middle]


def scale(values: np.ndarray) -> str:
    """Returns "log" for values that are positive, else "linear"."""
    finite = values[np.isfinite(values)]
    return "log" if len(finite) and finite.min() > 0 else "linear"


def new_figure(
    panels: int, size: tuple[float, float], columns: int | None = None
) -> tuple[Any, Any]:
    """Returns a figure and its axes, each of a size in inches, without pyplot's global state.

    The axes stand in one row, or in rows of `columns`.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  slow to import, and needed here only

    columns = columns or panels
    rows = -(-panels // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=150, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(PALE)
        one.tick_params(which="both", color=PALE, labelcolor=INK)
        one.xaxis.label.set_color(INK)
        one.title.set(color=INK, fontsize=11)
        one.grid(alpha=0.3, linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes


def save_figure(path: str | os.PathLike, figure: Any) -> None:
    """Writes a figure as PNG, whole or not at all."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")
