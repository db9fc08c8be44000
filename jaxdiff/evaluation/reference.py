"""The real data that samples are compared with, and the features for the comparison."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxdiff.evaluation.features import Classifier, FeatureExtractor, train_classifier
from jaxdiff.evaluation.frechet import frechet_distance
from jaxdiff.evaluation.kernel import kernel_distance
from jaxdiff.evaluation.moments import moments
from jaxdiff.evaluation.precision_recall import precision_recall
from jaxdiff.files import AnyPath
from jaxdiff.networks.classifier import ConvClassifier


@dataclass(frozen=True)
class Reference:
    """Real examples of both splits with their labels, and a feature extractor.

    `classifier` is the feature extractor if it is a classifier, else None. Labels are None for
    unlabelled data.
    """

    train: Float[np.ndarray, "n *shape"]
    held_out: Float[np.ndarray, "m *shape"]
    features: FeatureExtractor
    classifier: Classifier | None = None
    labels: Int[np.ndarray, " n"] | None = None
    held_out_labels: Int[np.ndarray, " m"] | None = None


def points(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """The feature extractor of points: the identity."""
    return x


def check_comparable(shape: Sequence[int], name: str) -> None:
    """Raises ValueError for the shape of a clip, which has no feature extractor."""
    if len(shape) == 4:
        raise ValueError(
            f"{name}: compares images or points, and data.shape={tuple(shape)} is of clips; "
            "use the evaluator SampleGrid, or sample.py with --out=clips.gif"
        )


def distances(reference: Reference, x: Float[np.ndarray, "n *shape"]) -> dict[str, float]:
    """Returns distances, precision and recall of examples against the held-out split."""
    real, features = reference.features(reference.held_out), reference.features(x)
    subset = min(1000, len(real) // 2, len(features) // 2)
    kernel = kernel_distance(real, features, subset_size=subset)
    manifold = precision_recall(real, features)
    return {
        "frechet_distance": frechet_distance(moments(real), moments(features)),
        "kernel_distance": kernel.mean,
        "kernel_distance_standard_error": kernel.standard_error,
        "precision": manifold.precision,
        "recall": manifold.recall,
    }


def make_reference(
    train: Iterable[Mapping[str, np.ndarray]],
    held_out: Iterable[Mapping[str, np.ndarray]],
    data: Mapping[str, Any],
    folder: AnyPath,
) -> Reference:
    """Reads both splits and trains a classifier of the images, or loads the one in `folder`.

    The name of the classifier's file holds a digest of `data`, the config of the data set.

    Raises:
        ValueError: the data are clips, or images without labels to train a classifier on.
    """
    check_comparable(data.get("shape", ()), "evaluation")
    (x, labels), (held_out_x, held_out_labels) = _join(train), _join(held_out)
    if x.ndim == 2:
        return Reference(x, held_out_x, points, None, labels, held_out_labels)
    if labels is None:
        raise ValueError(
            f"evaluation: {data['name']} has no labels for the classifier that scores samples"
        )
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{data['name'].replace('/', '-')}-{digest}.npz"
    network = ConvClassifier(classes=int(labels.max()) + 1)
    if path.exists():
        classifier = Classifier.load(path, network)
    else:
        classifier = train_classifier(network, x, labels, (held_out_x, held_out_labels))
        classifier.save(path)
    return Reference(x, held_out_x, classifier, classifier, labels, held_out_labels)


def _join(
    batches: Iterable[Mapping[str, np.ndarray]],
) -> tuple[Float[np.ndarray, "n *shape"], Int[np.ndarray, " n"] | None]:
    batches = list(batches)
    labels = [b["label"] for b in batches if "label" in b]
    return np.concatenate([b["x"] for b in batches]), np.concatenate(labels) if labels else None
