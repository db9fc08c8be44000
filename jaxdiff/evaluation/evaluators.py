"""Evaluators: metrics and pictures of a training state, during training and in `evaluate.py`.

An evaluator's `run(weights, step)` yields pairs of a name and a number or uint8 picture [h, w, c].
An evaluator is built with the run's `draw(weights, num, cond, seed)`, its number of classes (0
without labels), the folder for its pictures, a function that returns the `Reference`, one that
returns some held-out examples, and the shape of one example.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxdiff.evaluation import pictures
from jaxdiff.evaluation.classification import class_accuracy
from jaxdiff.evaluation.control import ControlGrid
from jaxdiff.evaluation.reference import Reference, check_comparable, distances
from jaxdiff.evaluation.retrieval import PromptRetrieval, Retrieval
from jaxdiff.evaluation.similarity import psnr, ssim
from jaxdiff.evaluation.taste import Taste
from jaxdiff.files import AnyPath
from jaxdiff.options import Count, Depth, PositiveFloat, Size

DrawSamples = Callable[..., np.ndarray]


@runtime_checkable
class Evaluator(Protocol):
    """A metric or a picture of a training state."""

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields pairs of a name and a number or a picture."""


__all__ = [
    "ControlGrid",
    "Evaluator",
    "HeldOutLoss",
    "ModeCoverage",
    "NearestNeighbours",
    "PromptRetrieval",
    "Reconstructions",
    "Retrieval",
    "SampleGrid",
    "SampleQuality",
    "Taste",
]
KIND = Evaluator
"""The kind of objects that the names of this module build."""


def balanced_labels(num: int, num_classes: int) -> np.ndarray:
    """Returns sorted labels [num], each class as often as the others: in a grid, a class a row."""
    return np.arange(num) * num_classes // num


@dataclass(frozen=True)
class SampleGrid:
    """A sheet of samples in `folder`, a class a row; for points, a scatter plot.

    Clips give two files: film strips of at most 15 clips (.png), and all clips playing (.gif).

    `cond` holds the conditions of the rows by name, such as {"text": ["a cat", "a dog"]}; without
    it the rows are the classes.
    """

    draw: DrawSamples
    num_classes: Count
    folder: AnyPath
    columns: Depth = 8
    points: Size = 2000
    cond: Mapping[str, Sequence[Any]] | None = None

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "samples" (not of points), and writes step_<step>.png, for clips a .gif too."""
        path = self.folder / f"step_{step:08d}.png"
        rows = len(next(iter(self.cond.values()))) if self.cond else self.num_classes
        num = self.columns * (rows or self.columns)
        samples = _drawn(self.draw, weights, num, self._cond(num))
        if samples.ndim == 2:
            more = _drawn(self.draw, weights, self.points, self._cond(self.points))
            pictures.save_scatter(path, more)
        elif samples.ndim == 5:
            few = samples[:: max(len(samples) // 8, 1)]
            pictures.save_clips(path, few)
            pictures.save_clips(path.with_suffix(".gif"), samples, self.columns)
            yield "samples", pictures.clip_strips(few)
        else:
            pictures.save_grid(path, samples, self.columns)
            yield "samples", pictures.grid(samples, self.columns)

    def _cond(self, num):
        if self.cond:
            return {
                k: [row[i] for i in balanced_labels(num, len(row))] for k, row in self.cond.items()
            }
        return {"label": balanced_labels(num, self.num_classes)} if self.num_classes else {}


@dataclass(frozen=True)
class HeldOutLoss:
    """The task's loss on `num` examples of the evaluation split, with averaged weights.

    Each example has the same noise and time at every evaluation. Dropout is as in training, so that
    the loss stands beside that of training.
    """

    loss: Callable[[Any, int, int], float]
    num: Size = 1000

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "held_out_loss"."""
        yield "held_out_loss", self.loss(weights, self.num, step)


@dataclass(frozen=True)
class SampleQuality:
    """Classification accuracy of `num` samples, and their distances to the held-out data.

    With `features`, a run of the task `Contrastive`, its features are compared in place of those of
    a classifier, and the data need no labels.

    Raises:
        ValueError: the data are clips.
    """

    draw: DrawSamples
    num_classes: Count
    reference: Callable[..., Reference]
    num: Size = 1000
    shape: Sequence[int] = ()
    features: str = ""

    def __post_init__(self):
        check_comparable(self.shape, "SampleQuality")

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "sampling_seconds", "class_accuracy" (for labelled images) and the distances."""
        reference = self.reference(self.features) if self.features else self.reference()
        labels = balanced_labels(self.num, self.num_classes) if self.num_classes else None
        start = time.perf_counter()
        samples = _drawn(self.draw, weights, self.num, {} if labels is None else {"label": labels})
        yield "sampling_seconds", time.perf_counter() - start
        if labels is not None and reference.classifier is not None:
            logits = reference.classifier.logits(samples)
            yield "class_accuracy", class_accuracy(logits, labels, self.num_classes).overall
        yield from distances(reference, samples).items()


@dataclass(frozen=True)
class Reconstructions:
    """An autoencoder's PSNR and SSIM on held-out examples, its latents, and a sheet of pairs.

    `held_out(num)` returns the examples by field. Raises ValueError if the data are points.
    """

    draw: Any
    held_out: Callable[[int], Mapping[str, np.ndarray]]
    folder: AnyPath
    num: Size = 1000
    shown: Size = 40
    shape: Sequence[int] = ()

    def __post_init__(self):
        if len(self.shape) not in (0, 3, 4):
            raise ValueError(f"Reconstructions: of images or clips, not of shape {self.shape}")

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "psnr" (dB), "ssim", the latents' mean and deviation, and the sheet.

        PSNR and SSIM are means over images and frames, of pixels of 8 bits. In the sheet each image
        or clip lies above its reconstruction.
        """
        x = self.held_out(self.num)["x"]
        decoded, z = self.draw.reconstruct(weights, x)
        rounded = np.round((np.clip(decoded, -1, 1) + 1) * 127.5) / 127.5 - 1
        pairs = [frames.reshape(-1, *frames.shape[-3:]) for frames in (x, rounded)]
        found = psnr(*pairs)
        yield "psnr", float(np.mean(np.minimum(found, 100)))  # exact pixels have no bound
        yield "ssim", float(np.mean(ssim(*pairs)))
        yield "latent_mean", float(z.mean())
        yield "latent_deviation", float(z.std())
        yield "compression", float(x[0].size / z[0].size)
        path = self.folder / f"step_{step:08d}.png"
        if x.ndim == 5:
            few = pictures.paired(x[:8], decoded[:8], 1)
            pictures.save_clips(path, few)
            yield "reconstructions", pictures.clip_strips(few)
            return
        sheet = pictures.paired(x[: self.shown], decoded[: self.shown], 10)
        pictures.save_grid(path, sheet, 10)
        yield "reconstructions", pictures.grid(sheet, 10)


@dataclass(frozen=True)
class NearestNeighbours:
    """How often the nearest training embedding of a held-out image has its label.

    Raises:
        ValueError: the data are clips.
    """

    draw: Any
    reference: Callable[[], Reference]
    shape: Sequence[int] = ()

    def __post_init__(self):
        check_comparable(self.shape, "NearestNeighbours")

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "nearest_neighbour_accuracy".

        Raises:
            ValueError: the data have no labels.
        """
        reference = self.reference()
        if reference.labels is None or reference.held_out_labels is None:
            raise ValueError("NearestNeighbours: the data have no labels")
        unit = lambda z: z / np.linalg.norm(z, axis=1, keepdims=True)
        train, held_out = (
            unit(self.draw.embed(weights, x)) for x in (reference.train, reference.held_out)
        )
        nearest = (held_out @ train.T).argmax(axis=1)
        same = reference.labels[nearest] == reference.held_out_labels
        yield "nearest_neighbour_accuracy", float(same.mean())


@dataclass(frozen=True)
class ModeCoverage:
    """How many modes of a density of labelled points the samples cover; a class is a mode.

    A sample is near a class if it lies within `radius` standard deviations of the class's mean. A
    class is covered if at least a tenth of its fair share of the samples is near it.
    """

    draw: DrawSamples
    reference: Callable[[], Reference]
    num: Size = 1000
    radius: PositiveFloat = 3.0

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "modes", "modes_covered" and "share_near_a_mode".

        Raises:
            ValueError: the data are not labelled points.
        """
        reference = self.reference()
        if reference.train.ndim != 2 or reference.labels is None:
            raise ValueError(
                "ModeCoverage: the data must be labelled points, one class for each mode"
            )
        classes = np.unique(reference.labels)
        clouds = [reference.train[reference.labels == c] for c in classes]
        means = np.stack([cloud.mean(axis=0) for cloud in clouds])
        deviations = np.array([np.sqrt(cloud.var(axis=0).mean()) for cloud in clouds])
        samples = _drawn(self.draw, weights, self.num, {})
        distance = np.linalg.norm(samples[:, None] - means, axis=-1) / deviations
        near = distance.min(axis=1) < self.radius
        counts = np.bincount(distance.argmin(axis=1)[near], minlength=len(classes))
        yield "modes", len(classes)
        yield "modes_covered", int((counts >= 0.1 * self.num / len(classes)).sum())
        yield "share_near_a_mode", float(near.mean())


def _drawn(draw, weights, num, cond):
    # Guidance needs a condition: without one, sample unguided whatever the run's scale.
    return draw(weights, num, cond, **({} if cond else {"guidance_scale": 1.0}))
