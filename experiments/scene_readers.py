"""Real scenes with their truths, and a network that reads them, for the pages about pictures."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdiff import Run
from jaxdiff.data.sources import open_source
from jaxdiff.evaluation.map_reading import FIELDS, Read, Reader, network_of, train_reader
from jaxdiff.files import atomic_write


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


def through_codec(run: Run, images: np.ndarray) -> np.ndarray:
    """Returns what the autoencoder, whose latents the model draws, makes of pictures."""
    weights, keys = run.weights["codec"], jax.random.split(jax.random.key(0), len(images))
    again = lambda weights, x: run.codec.decode(weights, run.codec.encode(weights, x, keys))
    return np.clip(jax.jit(again)(weights, images), -1, 1)


def trained_reader(run: Run, file: Path, num: int = 3000, steps: int = 800) -> Reader:
    """Returns a reader of maps of a .npz file; trained on `num` real scenes if it is missing."""
    if not file.exists():
        images, truths, _ = scenes_of(run, "train", num, most=2)
        reader = train_reader(images, truths, steps=steps)
        flat = flatten_dict(reader.params, sep="/")
        with atomic_write(file) as draft, open(draft, "wb") as stream:
            np.savez(stream, classes=reader.classes, **jax.device_get(flat))
        return reader
    with np.load(file) as stored:
        arrays = dict(stored)
    classes = tuple(int(each) for each in arrays.pop("classes"))
    return Reader(network_of(len(classes)), unflatten_dict(arrays, sep="/"), classes)


def seen(read: Read) -> np.ndarray:
    """Returns the kind of emoji that most of a picture's foreground shows; -1 for none."""
    counts = [np.bincount(each[each > 0], minlength=1) for each in read.segmentation]
    return np.array([each.argmax() - 1 if each.any() else -1 for each in counts])
