"""How often a sample is of the class that was asked for."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class ClassAccuracy:
    """The share of right answers in [0, 1], overall and per class; NaN where none was asked."""

    overall: float
    per_class: Float64[np.ndarray, " classes"]
    counts: Int64[np.ndarray, " classes"]


def class_accuracy(
    predicted: ArrayLike, asked: ArrayLike, classes: int | None = None
) -> ClassAccuracy:
    """Compares predicted labels [n] or logits [n, k] with the labels asked for [n].

    The number of classes is taken from the logits, else from the largest label asked.

    Raises:
        ValueError: the shapes disagree, or a label asked for lies outside [0, classes).
    """
    predicted, asked = np.asarray(predicted), np.asarray(asked)
    if predicted.ndim == 2:
        classes = predicted.shape[1]
        predicted = predicted.argmax(axis=1)
    if asked.ndim != 1 or len(asked) == 0 or predicted.shape != asked.shape:
        raise ValueError(
            f"predicted must have shape [n] or [n, k] and asked [n], n at least 1; "
            f"got {predicted.shape} and {asked.shape}"
        )
    classes = int(asked.max()) + 1 if classes is None else classes
    if asked.min() < 0 or asked.max() >= classes:
        raise ValueError(f"asked must lie in [0, {classes}); got {asked.min()} to {asked.max()}")
    right = predicted == asked
    counts = np.bincount(asked, minlength=classes)
    hits = np.bincount(asked, weights=right, minlength=classes)
    per_class = np.divide(hits, counts, out=np.full(classes, np.nan), where=counts > 0)
    return ClassAccuracy(float(right.mean()), per_class, counts)
