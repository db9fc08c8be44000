"""Handwritten digits of 8x8 pixels (Alpaydin & Kaynak 1998), which scikit-learn ships."""

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Int

from jaxdiff.data.images import png


class Digits(tfds.core.GeneratorBasedBuilder):
    """1797 grey digits [8, 8, 1]; the 17 levels 0..16 are spread over 0..255."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits of 8x8 pixels, split 80/20 within each class.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {"train": self._generate_examples(False), "test": self._generate_examples(True)}

    def _generate_examples(self, test: bool) -> Iterator[tuple[int, dict]]:
        from sklearn.datasets import load_digits  # noqa: PLC0415  slow to import, needed once

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        for i in np.flatnonzero(in_test(digits.target) == test):
            yield int(i), {"image": png(images[i]), "label": int(digits.target[i])}


def in_test(labels: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Marks the test examples: every fifth of each class, in the given order."""
    rank = np.zeros(len(labels), int)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.sum(labels == label))
    return rank % 5 == 4
