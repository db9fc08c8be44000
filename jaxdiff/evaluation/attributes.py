"""What a picture of emoji shows, read by a probe of real scenes: object, colour, count, relation.

The probe is a small network on the coarsest map of a frozen contrastive encoder, trained on real
scenes, whose facts are known. Scenes of one group have an object, a colour and a count; scenes with
a relation have its axis, and the objects on its two sides.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxdiff.data.scenes.layout import MOST
from jaxdiff.data.scenes.sprites import COLOR_NAMES, NOUNS
from jaxdiff.random import stream
from jaxdiff.typing import Params

FIELDS = ("text", "kinds", "colors", "groups", "relation")
"""The fields of `emoji_scenes` that say what a scene shows."""

HEADS = {
    "object": len(NOUNS),
    "colour": len(COLOR_NAMES),
    "count": MOST,
    "axis": 3,
    "one side": len(NOUNS),
    "other side": len(NOUNS),
}
"""Classes of each head. Axes are across, down and depth; one side is left, above, in front."""

ATTRIBUTES = ("object", "colour", "count", "relation")
Features = Float[np.ndarray, "n d"]
Facts = Mapping[str, Int[np.ndarray, " n"]]


class Share(NamedTuple):
    """A share of `num` cases, with its interval of 95 % (Wilson, 1927)."""

    value: float
    low: float
    high: float
    num: int


def share(right: np.ndarray) -> Share:
    """Returns how many of some cases are right; NaN of none."""
    n, z = len(right), 1.96
    if not n:
        return Share(math.nan, math.nan, math.nan, 0)
    p = float(np.mean(right))
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Share(p, (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n), n)


def facts(examples: Sequence[Mapping[str, Any]]) -> Facts:
    """Returns what scenes show, by head; -1 where a head has nothing to say of a scene."""
    rows = [_facts(each) for each in examples]
    return {name: np.array([row.get(name, -1) for row in rows], np.int32) for name in HEADS}


def _facts(example: Mapping[str, Any]) -> dict[str, int]:
    members, relation = np.asarray(example["groups"]), int(example["relation"])
    layers = [int(np.argmax(members == group)) for group in range(members.max() + 1)]
    kinds = [int(example["kinds"][layer]) for layer in layers]
    if len(layers) == 1:
        color = int(example["colors"][layers[0]])
        return {"object": kinds[0], "colour": color, "count": int((members == 0).sum()) - 1}
    if relation < 0:
        return {}
    one, other = kinds[:2] if relation % 2 == 0 else kinds[1::-1]
    return {"axis": relation // 2, "one side": one, "other side": other}


class Heads(nn.Module):
    """A hidden layer, and logits for every head."""

    features: int = 256

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], drop: Any = None) -> dict[str, Array]:
        """Returns the logits by head; `drop` [n, d] says which inputs count."""
        x = nn.LayerNorm()(x)
        x = x if drop is None else x * drop
        x = nn.gelu(nn.Dense(self.features)(x))
        return {name: nn.Dense(size)(x) for name, size in HEADS.items()}


@dataclass(frozen=True)
class Probe:
    """Reads attributes from an encoder's features of images."""

    params: Params

    def logits(self, features: Features) -> dict[str, np.ndarray]:
        """Returns the logits of each head."""
        return jax.device_get(_logits(self.params, features))

    def right(self, features: Features, wanted: Facts) -> dict[str, np.ndarray]:
        """Returns for each attribute whether it is as wanted, for the images that it is said of.

        A relation is right if its axis is, and the objects that were asked for stand on their
        sides rather than exchanged.
        """
        found = self.logits(features)
        right = {}
        for name in ("object", "colour", "count"):
            said = wanted[name] >= 0
            right[name] = found[name][said].argmax(1) == wanted[name][said]
        said = np.flatnonzero(wanted["axis"] >= 0)
        one, other = wanted["one side"][said], wanted["other side"][said]
        log = lambda side, kind: found[side][said, kind]
        stands = log("one side", one) + log("other side", other)
        exchanged = log("one side", other) + log("other side", one)
        axis = found["axis"][said].argmax(1) == wanted["axis"][said]
        right["relation"] = axis & (stands > exchanged)
        return right


def train_probe(features: Features, known: Facts, steps: int = 600, seed: int = 0) -> Probe:
    """Returns a probe of the features of real scenes; AdamW, a tenth of the inputs dropped."""
    key = jax.random.key(seed)
    params = Heads().init(stream(key, "init"), jnp.asarray(features[:1]))
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-2)
    state = params, optimizer.init(params)
    rng = np.random.default_rng(seed)
    step = _step(optimizer)
    for number in range(steps):
        index = rng.integers(len(features), size=min(256, len(features)))
        batch = features[index], {name: values[index] for name, values in known.items()}
        state = step(state, batch, jax.random.fold_in(stream(key, "drop"), number))
    return Probe(state[0])


def read(
    probe: Probe, encode: Callable[[np.ndarray], Features], images: np.ndarray, wanted: Facts
) -> dict[str, Share]:
    """Returns how often images [n, h, w, c] show what was asked for, by attribute."""
    return {name: share(each) for name, each in probe.right(encode(images), wanted).items()}


@jax.jit
def _logits(params: Params, features: Array) -> dict[str, Array]:
    found: Any = Heads().apply(params, features)
    return found


def _step(optimizer: optax.GradientTransformation) -> Callable:
    def loss(params: Params, batch: Any, key: Array) -> Array:
        features, known = batch
        drop = jax.random.bernoulli(key, 0.9, features.shape) / 0.9
        found: Any = Heads().apply(params, features, drop)
        total = jnp.zeros(())
        for name, logits in found.items():
            said = known[name] >= 0
            each = optax.softmax_cross_entropy_with_integer_labels(
                logits, jnp.maximum(known[name], 0)
            )
            total += jnp.where(said, each, 0).sum() / jnp.maximum(said.sum(), 1)
        return total

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, batch: Any, key: Array) -> Any:
        params, optimizer_state = state
        gradient = jax.grad(loss)(params, batch, key)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        return optax.apply_updates(params, updates), optimizer_state

    return step
