"""Pictures of samples and of training, written atomically as PNG or GIF files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from jaxdiff.evaluation import films
from jaxdiff.evaluation.figures import (
    ACCENT,
    INK,
    PALE,
    new_figure,
    save_figure,
    scale,
    smoothed,
)
from jaxdiff.files import atomic_write

CELL = 64
"""Pixels; smaller images are enlarged by an integer factor to at least this size."""
GAP, GREY = 2, 128
"""Pixels between images, and their brightness, distinct from black and from white images."""


def grid(images: ArrayLike, columns: int | None = None) -> UInt8[np.ndarray, "height width c"]:
    """Returns one sheet of images [n, h, w, c] in [-1, 1], c = 1 or 3, row by row.

    Values outside are clipped, NaN is black. Without `columns` the sheet is about square.
    """
    cells = _cells(images, ndim=4)
    columns = int(np.ceil(len(cells) ** 0.5)) if columns is None else min(columns, len(cells))
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    blank = np.full((-len(cells) % columns, *cells.shape[1:]), 255, np.uint8)
    return _sheet(rearrange(np.concatenate([cells, blank]), "(r q) h w c -> r q h w c", q=columns))


def paired(x: np.ndarray, y: np.ndarray, columns: int) -> np.ndarray:
    """Returns a row of the first, a row of the second, and so on, for a grid of these columns."""
    rows = np.split(np.stack([x, y]), range(columns, len(x), columns), axis=1)
    return np.concatenate([part for row in rows for part in row])


def save_grid(path: str | os.PathLike, images: ArrayLike, columns: int | None = None) -> None:
    """Writes `grid(images, columns)`."""
    _write(path, grid(images, columns))


def clip_strips(clips: ArrayLike) -> UInt8[np.ndarray, "height width c"]:
    """Returns one sheet of clips [n, frames, h, w, c] in [-1, 1]: a clip a row, as a film strip."""
    return _sheet(_cells(clips, ndim=5))


def save_clips(path: str | os.PathLike, clips: ArrayLike, columns: int | None = None) -> None:
    """Writes clips [n, frames, h, w, c] in [-1, 1]: playing as .gif or .mp4, otherwise as strips.

    Playing clips are a grid, at eight frames a second; a GIF loops for ever.
    """
    save = {".gif": films.save_gif, ".mp4": films.save_mp4}.get(Path(path).suffix)
    if save is None:
        _write(path, clip_strips(clips))
        return
    frames = rearrange(np.asarray(clips), "n f h w c -> f n h w c")
    save(path, [grid(frame, columns) for frame in frames])


def save_strip(
    path: str | os.PathLike, frames: ArrayLike, captions: Sequence[str] | None = None
) -> None:
    """Writes frames [t, n, h, w, c] in [-1, 1]: an example a row, time from left to right.

    Captions, one for each time, such as "t=0.25", are written above the columns.
    """
    cells = rearrange(_cells(frames, ndim=5), "t n h w c -> n t h w c")
    times, width = cells.shape[1], cells.shape[3]
    sheet = _sheet(cells)
    if captions is not None:
        if len(captions) != times:
            raise ValueError(f"captions: {len(captions)} of them for {times} times")
        sheet = _captioned(sheet, captions, cell=width)
    _write(path, sheet)


def save_scatter(
    path: str | os.PathLike, points: ArrayLike, truth: ArrayLike | None = None
) -> None:
    """Writes a scatter plot of points [n, 2], over samples of the true density [m, 2].

    The window fits the true samples; the number of points outside it is written below.
    """
    points = _points("points", points)
    truth = None if truth is None else _points("truth", truth)
    figure, (axes,) = new_figure(1, size=(5.0, 5.2))
    if truth is not None:
        _dots(axes, truth, PALE, "data")
    _dots(axes, points, ACCENT, "samples")
    shown = points if truth is None else truth
    low, high = np.quantile(shown, [0.01, 0.99], axis=0)
    centre, reach = (low + high) / 2, max(0.7 * (high - low).max(), 1e-6)
    axes.set(
        xlim=centre[0] + reach * np.array([-1, 1]),
        ylim=centre[1] + reach * np.array([-1, 1]),
        aspect="equal",
    )
    outside = int((np.abs(points - centre) > reach).any(axis=1).sum())
    if outside:
        axes.set_xlabel(f"{outside} of {len(points)} samples lie outside")
    if truth is not None:
        legend = axes.legend(
            frameon=False,
            labelcolor=INK,
            markerscale=3,
            ncols=2,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            borderaxespad=0,
        )
        for handle in legend.legend_handles:
            handle.set_alpha(1)
    save_figure(path, figure)


def save_scatter_strip(path: str | os.PathLike, frames: ArrayLike, captions: Sequence[str]) -> None:
    """Writes clouds of points [t, n, 2] side by side, time from left to right, equal axes."""
    frames = np.asarray(frames, float)
    if frames.ndim != 3 or frames.shape[2] != 2 or len(captions) != len(frames):
        raise ValueError(f"frames must be [t, n, 2] with t captions; got {frames.shape}")
    figure, panels = new_figure(len(frames), size=(2.0, 2.3))
    reach = 1.05 * max(np.quantile(np.abs(frames), 0.995), 1e-6)
    for axes, points, caption in zip(panels, frames, captions, strict=True):
        _dots(axes, points, ACCENT, caption)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=caption)
        axes.set(xticks=[], yticks=[])
    save_figure(path, figure)


def save_loss(
    path: str | os.PathLike,
    steps: ArrayLike,
    losses: ArrayLike,
    logsnr_edges: ArrayLike | None = None,
    losses_by_logsnr: ArrayLike | None = None,
    players: Mapping[str, ArrayLike] | None = None,
    held_out: Mapping[int, float] | None = None,
) -> None:
    """Plots the loss [n] against the step [n], and in a second panel the loss by noise level.

    `players` has the loss [n] of each player, whose curves replace that of the sum; `held_out` has
    the loss on held-out examples by step.
    `losses_by_logsnr` [k] are means over bins of log-SNR with `logsnr_edges` [k + 1]; NaN marks
    an empty bin. Axes are logarithmic unless a loss is zero or negative.
    """
    steps, losses = np.asarray(steps, float), np.asarray(losses, float)
    if steps.ndim != 1 or losses.shape != steps.shape or len(steps) == 0:
        raise ValueError(f"steps and losses must be [n], got {steps.shape} and {losses.shape}")
    figure, panels = new_figure(1 if losses_by_logsnr is None else 2, size=(5.2, 3.4))
    curves = dict(players) if players else {"loss": losses}
    for (name, curve), color in zip(curves.items(), (ACCENT, INK), strict=False):
        panels[0].plot(steps, curve, color=PALE, linewidth=0.8)
        mean = smoothed(np.asarray(curve, float))
        panels[0].plot(steps, mean, color=color, linewidth=1.6, label=name)
    panels[0].set(xlabel="step", title="loss", yscale=scale(losses))
    if held_out:
        panels[0].plot(
            *zip(*held_out.items(), strict=True), "o", color=INK, markersize=4, label="held out"
        )
    if players or held_out:
        panels[0].legend(frameon=False)
    if losses_by_logsnr is not None:
        edges, means = np.asarray(logsnr_edges, float), np.asarray(losses_by_logsnr, float)
        if means.ndim != 1 or edges.shape != (len(means) + 1,):
            raise ValueError(
                f"losses_by_logsnr must be [k] and logsnr_edges [k + 1], "
                f"got {means.shape} and {edges.shape}"
            )
        panels[1].stairs(means, edges, baseline=None, color=ACCENT, linewidth=1.6)
        panels[1].set(
            xlabel="log-SNR (noise left, data right)",
            title="loss by noise level",
            yscale=scale(means),
        )
    save_figure(path, figure)


def save_likelihood(
    path: str | os.PathLike,
    bits: ArrayLike,
    logsnr: ArrayLike | None = None,
    terms: ArrayLike | None = None,
) -> None:
    """Plots a histogram of bits per dimension [n], and in a second panel a bound's terms [k].

    Each term is plotted at the log-SNR [k] at which its interval ends.
    """
    bits = np.asarray(bits, float)
    figure, panels = new_figure(1 if terms is None else 2, size=(5.2, 3.4))
    panels[0].hist(bits, bins=min(40, max(10, len(bits) // 10)), color=PALE)
    panels[0].axvline(bits.mean(), color=ACCENT, linewidth=1.6)
    panels[0].set(
        xlabel="bits per dimension", ylabel="examples", title=f"mean {bits.mean():.4g} bits/dim"
    )
    if terms is not None:
        terms = np.asarray(terms, float)
        panels[1].plot(logsnr, terms, color=ACCENT, linewidth=1.6)
        panels[1].set(
            xlabel="log-SNR (noise left, data right)",
            title="terms of the bound, bits/dim",
            yscale=scale(terms),
        )
    save_figure(path, figure)


def _cells(images: ArrayLike, ndim: int) -> UInt8[np.ndarray, "..."]:
    """Returns images as bytes; small ones are enlarged by an integer factor."""
    x = np.asarray(images, np.float32)
    if x.ndim != ndim or 0 in x.shape or x.shape[-1] not in (1, 3):
        axes = "[n, h, w, c]" if ndim == 4 else "[t, n, h, w, c]"
        raise ValueError(f"images must have shape {axes} with c = 1 or 3; got {x.shape}")
    x = np.nan_to_num(x, nan=-1.0)
    pixels = np.round((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)
    factor = -(-CELL // max(x.shape[-3:-1]))
    return pixels.repeat(factor, axis=-3).repeat(factor, axis=-2)


def _sheet(cells: UInt8[np.ndarray, "r q h w c"]) -> UInt8[np.ndarray, "height width c"]:
    room = ((0, 0), (0, 0), (GAP, 0), (GAP, 0), (0, 0))
    sheet = rearrange(np.pad(cells, room, constant_values=GREY), "r q h w c -> (r h) (q w) c")
    return np.pad(sheet, ((0, GAP), (0, GAP), (0, 0)), constant_values=GREY)


def _captioned(
    sheet: UInt8[np.ndarray, "height width c"], captions: Sequence[str], cell: int
) -> UInt8[np.ndarray, "taller width c"]:
    chosen = font(14)
    longest = max(chosen.getlength(caption) for caption in captions)
    if longest > 0.9 * cell:
        chosen = font(max(6, int(14 * 0.9 * cell / longest)))
    header = Image.new("L", (sheet.shape[1], 22), 255)
    draw = ImageDraw.Draw(header)
    for column, caption in enumerate(captions):
        centre = GAP + column * (cell + GAP) + cell / 2
        draw.text((centre, 12), caption, fill=INK, font=chosen, anchor="mm")
    band = np.repeat(np.asarray(header)[..., None], sheet.shape[2], axis=2)
    return np.concatenate([band, sheet])


def font(size: int) -> ImageFont.FreeTypeFont:
    """Returns the font of all pictures, in a size in pixels."""
    import matplotlib  # noqa: PLC0415  slow to import, and needed here only

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _write(path: str | os.PathLike, pixels: UInt8[np.ndarray, "height width c"]) -> None:
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")


def _points(name: str, values: ArrayLike) -> np.ndarray:
    x = np.asarray(values, float)
    if x.ndim != 2 or x.shape[1] != 2 or len(x) == 0:
        raise ValueError(f"{name} must have shape [n, 2], n at least 1; got {x.shape}")
    return x


def _dots(axes: Any, points: np.ndarray, colour: str, label: str) -> None:
    alpha = float(np.clip(1500 / len(points), 0.2, 0.8))
    axes.scatter(*points.T, s=7, color=colour, alpha=alpha, linewidths=0, label=label)
