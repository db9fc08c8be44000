"""Accuracy of a classifier on samples: how often they show the requested class."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy in [0, 1], overall and per class; NaN for a class without samples."""

    overall: float
    per_class: Float64[np.ndarray, " classes"]
    counts: Int64[np.ndarray, " classes"]


def class_accuracy(
    predicted: ArrayLike, requested: ArrayLike, classes: int | None = None
) -> ClassAccuracy:
    """Compares predicted labels [n] or logits [n, k] with requested labels [n].

    The number of classes is taken from the logits, else from the largest requested label.

    Raises:
        ValueError: the shapes disagree, or a requested label lies outside [0, classes).
    """
    predicted, requested = np.asarray(predicted), np.asarray(requested)
    if predicted.ndim == 2:
        classes = predicted.shape[1]
        predicted = predicted.argmax(axis=1)
    if requested.ndim != 1 or len(requested) == 0 or predicted.shape != requested.shape:
        raise ValueError(
            f"predicted must have shape [n] or [n, k] and requested [n], n at least 1; "
            f"got {predicted.shape} and {requested.shape}"
        )
    classes = int(requested.max()) + 1 if classes is None else classes
    if requested.min() < 0 or requested.max() >= classes:
        raise ValueError(
            f"requested must lie in [0, {classes}); got {requested.min()} to {requested.max()}"
        )
    right = predicted == requested
    counts = np.bincount(requested, minlength=classes)
    hits = np.bincount(requested, weights=right, minlength=classes)
    per_class = np.divide(hits, counts, out=np.full(classes, np.nan), where=counts > 0)
    return ClassAccuracy(float(right.mean()), per_class, counts)
