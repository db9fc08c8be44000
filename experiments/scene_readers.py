"""Real scenes with their truths, and a network that reads them, for the pages about pictures."""

from typing import Any

import numpy as np

from jaxdiff import Run
from jaxdiff.data.sources import open_source
from jaxdiff.evaluation.map_reading import FIELDS, Read, Reader, train_reader


def scenes_of(run: Run, split: str, num: int, most: int) -> tuple[np.ndarray, Any, list[Any]]:
    """Returns scenes in [-1, 1], their truths by name, and the examples."""
    data = run.config.data
    fields = tuple(dict.fromkeys(("text", "kinds", *FIELDS)))
    kinds = tuple(data.kinds)
    given = {"size": run.shape[0], "kinds": kinds, "most": most, "fields": fields}
    source = open_source("emoji_scenes", split, **given)
    found = [source[i] for i in range(num)]
    images = np.stack([each["x"] for each in found]).astype(np.float32) / 127.5 - 1
    return images, {name: np.stack([each[name] for each in found]) for name in FIELDS}, found


def trained_reader(run: Run, num: int, steps: int) -> Reader:
    """Returns a reader of maps, trained on real scenes."""
    images, truths, _ = scenes_of(run, "train", num, most=2)
    return train_reader(images, truths, steps=steps)


def seen(read: Read) -> np.ndarray:
    """Returns the kind of emoji that most of a picture's foreground shows; -1 for none."""
    counts = [np.bincount(each[each > 0], minlength=1) for each in read.segmentation]
    return np.array([each.argmax() - 1 if each.any() else -1 for each in counts])
