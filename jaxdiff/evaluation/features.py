"""Feature extractors for distances between sets of images: a small classifier, trained here."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, Shaped

from jaxdiff.networks import classifier_files
from jaxdiff.progress import full_batches, progress
from jaxdiff.random import example_keys, fold_in, stream
from jaxdiff.typing import Params

Images = Float[np.ndarray | Array, "_ h w c"]
Labels = Int[np.ndarray | Array, "_"]


@runtime_checkable
class FeatureExtractor(Protocol):
    """Maps any number of images in [-1, 1] to features, in bounded memory."""

    def __call__(self, images: Images) -> Float[np.ndarray, "n d"]:
        """Returns one row of features per image."""


def in_batches(
    function: Callable[[np.ndarray], Any], images: Shaped[np.ndarray | Array, "n *shape"], size: int
) -> Any:
    """Applies a function to batches of `size` images, and concatenates its results on the host.

    The last batch is padded, so that a compiled function sees one shape only.
    """
    results = []
    for index, _ in full_batches(len(images), size):
        results.append(jax.device_get(function(np.asarray(images[index]))))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(images)], *results)


@dataclass(frozen=True)
class Training:
    """Settings of a classifier's training: AdamW, warm-up and cosine decay, shifted images."""

    steps: int = 1500
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    shift: int = 1
    """Largest shift in pixels, in either direction on both axes."""


@dataclass(frozen=True)
class Classifier:
    """A trained classifier, which is also a feature extractor."""

    network: Any
    """Flax module: `(images [b, h, w, c]) -> (logits [b, k], features [b, d])`."""
    params: Params
    image_shape: tuple[int, int, int]
    accuracy: float
    """Accuracy on held-out images, in [0, 1]."""
    batch_size: int = 256

    def __call__(self, images: Images) -> Float[np.ndarray, "n d"]:
        """Returns the features."""
        return self._apply(images)[1]

    def logits(self, images: Images) -> Float[np.ndarray, "n k"]:
        """Returns the logits of the classes."""
        return self._apply(images)[0]

    def _apply(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        if images.ndim != 4 or len(images) == 0 or images.shape[1:] != self.image_shape:
            raise ValueError(
                f"images must have shape [n, {', '.join(map(str, self.image_shape))}], "
                f"n at least 1; got {images.shape}"
            )
        return in_batches(partial(_apply, self.network, self.params), images, self.batch_size)

    def save(self, path: str | os.PathLike) -> None:
        """Writes one .npz file, whole or not at all."""
        shape = {"image_shape": self.image_shape, "accuracy": self.accuracy}
        classifier_files.write(path, self.network, self.params, **shape)

    @classmethod
    def load(cls, path: str | os.PathLike, network: Any = None) -> "Classifier":
        """Reads a file that `save` wrote; a network, if given, must equal the file's.

        Raises:
            ValueError: the file is damaged, or weights and network do not fit; names the file.
        """
        stored, params, header = classifier_files.read(path)
        if network is not None and network != stored:
            raise ValueError(f"{path} holds another network: {stored}, not {network}")
        return cls(stored, params, header["image_shape"], header["accuracy"])


@partial(jax.jit, static_argnums=0)
def _apply(network: Any, params: Params, images: Images) -> tuple[Array, Array]:
    return network.apply(params, images)


def train_classifier(
    network: Any,
    images: Images,
    labels: Labels,
    held_out: tuple[Images, Labels],
    training: Training = Training(),
    seed: int = 0,
) -> Classifier:
    """Trains a classifier on images in [-1, 1], reproducibly from the seed.

    Raises:
        ValueError: images or labels have the wrong shape or range.
    """
    _require_labelled_images("images", images, labels)
    _require_labelled_images("held_out", *held_out)
    key = jax.random.key(seed)
    state = _init(network, training, stream(key, "init"), images[:1])
    keys = stream(key, "shift")
    batches = enumerate(_batches(len(images), training, seed))
    for number, index in progress(batches, "steps of the classifier that scores samples"):
        batch = images[index], labels[index], index
        state = _step(network, training, state, fold_in(keys, number), batch)
    classifier = Classifier(network, state[0], images.shape[1:], accuracy=0.0)
    right = classifier.logits(held_out[0]).argmax(axis=1) == held_out[1]
    return replace(classifier, accuracy=float(np.mean(right)))


def _require_labelled_images(name: str, images: Images, labels: Labels) -> None:
    if images.ndim != 4 or len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{name}: images must have shape [n, h, w, c] and labels [n], n at least 1; "
            f"got {images.shape} and {labels.shape}"
        )
    if not (images.min() >= -1.001 and images.max() <= 1.001):
        raise ValueError(
            f"{name}: pixels must lie in [-1, 1]; got {images.min()} to {images.max()}"
        )


def _batches(count: int, training: Training, seed: int) -> Iterator[Int[np.ndarray, " b"]]:
    """Yields the indices of each batch; each epoch has a new order, and batches cross epochs."""
    random = np.random.default_rng(seed)
    size = min(training.batch_size, count)
    order = np.empty(0, np.int64)
    for _ in range(training.steps):
        if len(order) < size:
            order = np.concatenate([order, random.permutation(count)])
        yield order[:size]
        order = order[size:]


def _optimizer(training: Training) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(
        0.0, training.learning_rate, training.steps // 10, training.steps
    )
    return optax.adamw(rate, weight_decay=training.weight_decay)


@partial(jax.jit, static_argnums=(0, 1))
def _init(network: Any, training: Training, key: Key[Array, ""], images: Images) -> Any:
    params = network.init(key, images)
    return params, _optimizer(training).init(params)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _step(network: Any, training: Training, state: Any, key: Key[Array, ""], batch: Any) -> Any:
    params, optimizer_state = state
    images, labels, index = batch
    images = _shifted(example_keys(key, index), images, training.shift)

    def loss(params: Params) -> Float[Array, ""]:
        logits, _ = network.apply(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    updates, optimizer_state = _optimizer(training).update(
        jax.grad(loss)(params), optimizer_state, params
    )
    return optax.apply_updates(params, updates), optimizer_state


def _shifted(keys: Key[Array, " n"], images: Images, most: int) -> Images:
    def one(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        room = jnp.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")
        row, column = jax.random.randint(key, (2,), 0, 2 * most + 1)
        return jax.lax.dynamic_slice(room, (row, column, 0), image.shape)

    return jax.vmap(one)(keys, images)
