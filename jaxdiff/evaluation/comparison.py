"""Pictures that compare runs: their loss curves, their figures, their sample grids."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jaxdiff.evaluation.figures import ACCENT, INK, new_figure, save_figure, scale, smoothed


def save_curves(
    path: str | os.PathLike, curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]
) -> None:
    """Plots loss curves over each other, smoothed; `curves` has steps and losses by name."""
    figure, (axes,) = new_figure(1, size=(10.0, 4.2))
    for name, (steps, losses) in curves.items():
        axes.plot(steps, smoothed(np.asarray(losses, float)), linewidth=1.2, label=name)
    every = np.concatenate([np.asarray(losses, float) for _, losses in curves.values()])
    axes.set(xlabel="step", title="loss", yscale=scale(every))
    if len(curves) <= 16:
        figure.legend(loc="outside right center", frameon=False, fontsize=6)
    save_figure(path, figure)


def save_effects(
    path: str | os.PathLike, effects: Mapping[str, Mapping[str, float]], metric: str
) -> None:
    """Plots the mean of a metric at each value of each field, a panel a field."""
    figure, panels = new_figure(len(effects), size=(3.6, 3.2))
    for axes, (name, by_value) in zip(panels, effects.items(), strict=True):
        axes.barh(list(by_value), list(by_value.values()), color=ACCENT, height=0.5)
        axes.set(title=name, xlabel=metric)
        axes.tick_params(labelsize=7, colors=INK)
    save_figure(path, figure)


def save_side_by_side(
    path: str | os.PathLike, pictures: Mapping[str, str | os.PathLike], columns: int = 4
) -> None:
    """Writes picture files beside each other, each under its name."""
    rows = -(-len(pictures) // columns)
    figure, panels = new_figure(columns * rows, size=(3.2, 3.4), columns=columns)
    for axes in panels:
        axes.axis("off")
    for axes, (name, file) in zip(panels, pictures.items(), strict=False):
        with Image.open(Path(file)) as image:
            axes.imshow(np.asarray(image.convert("RGB")), interpolation="nearest")
        axes.set_title(name.replace(",", "\n"), fontsize=7, color=INK)
    save_figure(path, figure)
