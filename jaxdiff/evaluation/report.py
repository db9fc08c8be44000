"""The report on a finished run: pictures and metrics.json."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxdiff.diffusion.process import Process
from jaxdiff.evaluation import pictures
from jaxdiff.files import AnyPath

FRAMES = 9
"""Number of times in a strip."""

Data = Float[np.ndarray, "n *shape"]
Frames = Float[np.ndarray, "t n *shape"]


def forward_frames(process: Process, x0: Data, seed: int = 0) -> tuple[Frames, list[str]]:
    """Returns x_t at times from data to noise, scaled to unit variance, with captions."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(x0.shape, np.float32)
    times = np.linspace(0, 1, FRAMES, dtype=np.float32)
    alpha, sigma = (np.asarray(c(jnp.asarray(times))) for c in _coefficients(process))
    frames = np.stack([_shown(a * x0 + s * noise, a, s) for a, s in zip(alpha, sigma, strict=True)])
    return frames, [f"t={t:.3g}" for t in times]


def reverse_frames(process: Process, path: Frames, times: np.ndarray) -> tuple[Frames, list[str]]:
    """Returns evenly spaced x_t of a trajectory, scaled to unit variance, with captions."""
    chosen = np.linspace(0, len(times) - 1, min(FRAMES, len(times))).round().astype(int)
    alpha, sigma = (np.asarray(c(jnp.asarray(times))) for c in _coefficients(process))
    frames = np.stack([_shown(path[i], alpha[i], sigma[i]) for i in chosen])
    return frames, [f"t={times[i]:.3g}" for i in chosen]


def save_frames(path: AnyPath, frames: Frames, captions: list[str]) -> None:
    """Writes a strip of images, clips or clouds of points, time from left to right.

    Of a clip, its middle frame is shown.
    """
    if frames.ndim == 6:
        frames = frames[:, :, frames.shape[2] // 2]
    save = pictures.save_scatter_strip if frames.ndim == 3 else pictures.save_strip
    save(path, frames, captions)


def save_samples(
    path: AnyPath, samples: Data, columns: int | None, truth: Data | None = None
) -> None:
    """Writes a sheet of images, clips, or a scatter plot of points over the true ones."""
    if samples.ndim == 2:
        pictures.save_scatter(path, samples, truth)
    elif samples.ndim == 5:
        pictures.save_clips(path, samples, columns)
    else:
        pictures.save_grid(path, samples, columns)


def save_loss(path: AnyPath, lines: list[Mapping[str, Any]]) -> None:
    """Plots the loss curve of metrics.jsonl, and the last quarter's loss by noise level.

    With several players, each has a curve. A held-out loss is marked where there is one.
    """
    held_out = {
        line["step"]: line["evaluation"]["held_out_loss"]
        for line in lines
        if "held_out_loss" in line.get("evaluation", {})
    }
    lines = [line for line in lines if "loss" in line]
    if not lines:
        return
    steps, curve = [line["step"] for line in lines], [line["loss"] for line in lines]
    if "loss_by_logsnr" not in lines[0]:
        names = [name for name in lines[0] if name.startswith("loss_")]
        players = {name.removeprefix("loss_"): [line[name] for line in lines] for name in names}
        pictures.save_loss(path, steps, curve, players=players)
        return
    recent: dict[float, list[float]] = {}
    for line in lines[-max(len(lines) // 4, 1) :]:
        for middle, loss in line["loss_by_logsnr"].items():
            recent.setdefault(float(middle), []).append(loss)
    middles = np.array(sorted(recent))
    levels = np.arange(middles.min(), middles.max() + 1, 2.0)
    losses = [np.mean(recent[m]) if m in recent else np.nan for m in levels]
    edges = np.append(levels - 1, levels[-1] + 1)
    pictures.save_loss(path, steps, curve, edges, losses, held_out=held_out)


def read_metrics(workdir: AnyPath) -> list[dict[str, Any]]:
    """Reads metrics.jsonl, up to a line that a crash cut short.

    Raises:
        ValueError: a line is no record of metrics; says which.
    """
    path, found = workdir / "metrics.jsonl", []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            found.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            if number < len(lines):
                raise ValueError(f"{path}, line {number}, is no record of metrics") from None
    return found


def training_figures(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the median images per second and the seconds of the first compilation."""
    rates = [line["images_per_second"] for line in lines if "images_per_second" in line]
    compiled = [line["compile_seconds"] for line in lines if "compile_seconds" in line]
    return {
        "training_images_per_second": float(np.median(rates)) if rates else float("nan"),
        "training_compile_seconds": compiled[0] if compiled else float("nan"),
    }


def _coefficients(process):
    return process.schedule.alpha, process.schedule.sigma


def _shown(x, alpha, sigma):
    return x / np.sqrt(alpha**2 + sigma**2)
