"""Reads maps back from pictures of scenes, by a network that is trained on real ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from jaxdiff.data.maps import CHANNELS, OF_TRUTH, ControlMap
from jaxdiff.data.scenes import truth
from jaxdiff.evaluation.features import Images, in_batches
from jaxdiff.networks.unet import UNet
from jaxdiff.progress import progress
from jaxdiff.typing import Params

FIELDS = tuple(dict.fromkeys(OF_TRUTH.values()))
"""The truths of a scene that a reader learns from, or that its figures are made of."""

POINTS = CHANNELS["key_points"]
PATCH = 4
CHANNELS_OF_LEVELS = (32, 48)


class Read(NamedTuple):
    """What a reader sees in pictures: as `EmojiScenes` says it, and key points as Gaussians.

    Edges are those of the segments.
    """

    segmentation: Int[np.ndarray, "n h w"]
    edges: Bool[np.ndarray, "n h w"]
    depth: Float[np.ndarray, "n h w"]
    key_points: Float[np.ndarray, "n h w p"]


@dataclass(frozen=True)
class Reader:
    """A U-Net without noise, of segments, depth and key points of pictures in [-1, 1].

    It works on squares of `PATCH` pixels, which costs a fraction.

    Attributes:
        classes: the values of "segmentation" that it tells apart.
    """

    network: UNet
    params: Params
    classes: tuple[int, ...]
    batch_size: int = 64

    def __call__(self, images: Images) -> Read:
        """Returns the maps of pictures."""
        apply = partial(_apply, self.network, self.params)
        found = in_batches(apply, np.asarray(images, np.float32), self.batch_size)
        logits, depth, points = _parts(found, len(self.classes))
        segmentation = np.asarray(self.classes)[logits.argmax(-1)]
        edges = np.stack([truth.edges(each) for each in segmentation.astype(np.int32)])
        return Read(segmentation, edges, depth, points)


def train_reader(
    images: Images,
    truths: Mapping[str, np.ndarray],
    *,
    channels: Sequence[int] = CHANNELS_OF_LEVELS,
    steps: int = 600,
    batch_size: int = 16,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> Reader:
    """Trains a reader on scenes, reproducibly from the seed.

    Args:
        images: in [-1, 1].
        truths: the fields of `EmojiScenes` by name; "segmentation", "depth" and "points".
    """
    classes = tuple(int(each) for each in np.unique(truths["segmentation"]))
    network = network_of(len(classes), channels)
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 10, steps)
    optimizer = optax.adamw(rate)
    params = _init(network, jax.random.key(seed), images[:1])
    state = params, optimizer.init(params)
    numbers = np.searchsorted(classes, truths["segmentation"])
    points = np.stack([
        ControlMap("key_points").values({"x": x, "points": each})
        for x, each in zip(images, truths["points"], strict=True)
    ])  # fmt: skip
    targets = numbers, truths["depth"], points
    random = np.random.default_rng(seed)
    for _ in progress(range(steps), "steps of the network that reads maps"):
        chosen = random.integers(0, len(images), min(batch_size, len(images)))
        batch = images[chosen], *(each[chosen] for each in targets)
        state = _step(network, optimizer.update, len(classes), state, batch)
    return Reader(network, state[0], classes)


def network_of(classes: int, channels: Sequence[int] = CHANNELS_OF_LEVELS) -> UNet:
    """Returns the network of a reader that tells a number of classes apart."""
    return UNet(
        channels=tuple(channels),
        layers_per_block=1,
        num_groups=8,
        middle_attention=False,
        out_channels=(classes + 1 + POINTS) * PATCH**2,
    )


def to_patches(images: Images) -> Float[Array, "b h2 w2 c2"]:
    """Returns pictures with squares of `PATCH` pixels as channels."""
    return rearrange(jnp.asarray(images), "b (h p) (w q) c -> b h w (c p q)", p=PATCH, q=PATCH)


@partial(jax.jit, static_argnums=0)
def _init(network: UNet, key: Any, images: Images) -> Params:
    return network.init(key, to_patches(images), jnp.zeros(len(images)), {})


@partial(jax.jit, static_argnums=0)
def _apply(network: UNet, params: Params, images: Images) -> Array:
    found = network.apply(params, to_patches(images), jnp.zeros(len(images)), {})
    return rearrange(found, "b h w (c p q) -> b (h p) (w q) c", p=PATCH, q=PATCH)


def _parts(outputs: Any, classes: int) -> tuple[Any, Any, Any]:
    """Returns logits of segments, depth, and key points."""
    return outputs[..., :classes], outputs[..., classes], outputs[..., classes + 1 :]


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _step(network: UNet, update: Any, classes: int, state: Any, batch: Any) -> Any:
    params, optimizer_state = state
    images, numbers, depth, points = batch

    def loss(params: Params) -> Float[Array, ""]:
        logits, near, blobs = _parts(_apply(network, params, images), classes)
        # By whole vectors: the gradient of a look-up is a scatter, which is slow on a CPU.
        entropy = optax.softmax_cross_entropy(logits, jax.nn.one_hot(numbers, classes)).mean()
        # Points are few among pixels: without a weight of their own, none is the best guess.
        at_points = (1 + 30 * points) * jnp.square(blobs - points)
        return entropy + 10 * (jnp.square(near - depth).mean() + at_points.mean())

    updates, optimizer_state = update(jax.grad(loss)(params), optimizer_state, params)
    return optax.apply_updates(params, updates), optimizer_state
