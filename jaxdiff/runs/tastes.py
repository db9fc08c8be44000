"""A taste learned from votes: a Bradley-Terry model on the features of a small network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int

from jaxdiff.data.votes import Votes
from jaxdiff.evaluation.features import Classifier
from jaxdiff.networks.classifier import ConvClassifier
from jaxdiff.objectives.preferences import bradley_terry
from jaxdiff.options import NonNegativeFloat, PositiveFloat, Size, check
from jaxdiff.progress import progress
from jaxdiff.tasks.contrastive_runs import encoder_of_run
from jaxdiff.typing import Params

Pictures = Float[np.ndarray, "n h w c"]


def read_votes(file: str | Path, split: str, **options: Any) -> tuple[Pictures, Pictures]:
    """Returns the chosen and the rejected pictures of a file of votes, in [-1, 1].

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: as for the data set `votes`, whose options these are.
    """
    votes = Votes(split, file, **options)
    pairs = [votes[i] for i in range(len(votes))]
    both = [np.stack([pair[name] for pair in pairs]) for name in ("x", "rejected")]
    chosen, rejected = (x.astype(np.float32) / 127.5 - 1 for x in both)
    return chosen, rejected


def learn(
    chosen: Pictures,
    rejected: Pictures,
    held_out: tuple[Float[np.ndarray, "m h w c"], Float[np.ndarray, "m h w c"]],
    *,
    features: str | Path | Classifier | None = None,
    steps: int = 400,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
    weight_decay: float = 1e-2,
    seed: int = 0,
) -> Classifier:
    """Returns a network of one output, a picture's reward, whose differences explain votes.

    The loss is `preferences.bradley_terry`. Of `features` only the last linear map is trained,
    which begins at zero: a logistic regression, with one solution. `accuracy` of the result is the
    share of the held-out votes that it agrees with; `save` writes it for `rewards.Learned`.

    Args:
        chosen, rejected: pictures of each vote, in [-1, 1]; `held_out`, of other votes.
        features: a classifier or its .npz file, or the folder of a run of `Contrastive`; None for
            a `ConvClassifier` that is trained as a whole.
        steps, batch_size, learning_rate, weight_decay: of AdamW, on votes.
        seed: of the network and the order of the votes.

    Raises:
        ValueError: a number is out of range, or pictures are not of one size.
    """
    check("steps", Size, steps)
    check("batch_size", Size, batch_size)
    check("learning_rate", PositiveFloat, learning_rate)
    check("weight_decay", NonNegativeFloat, weight_decay)
    shapes = {x.shape[1:] for x in (chosen, rejected, *held_out)}
    if len(shapes) > 1 or len(chosen) != len(rejected) or not len(chosen):
        raise ValueError(f"votes: pictures of {sorted(shapes)}, {len(chosen)} and {len(rejected)}")
    network, begun, trained = _begun(features, chosen[:1], seed)
    optimizer = optax.adamw(learning_rate, weight_decay=weight_decay)
    flat: Any = flatten_dict(begun, sep="/")
    fixed = {name: leaf for name, leaf in flat.items() if name not in trained}
    free = {name: flat[name] for name in trained}

    @jax.jit
    def step(free: Any, state: Any, both: Float[Array, "two b h w c"]) -> Any:
        def loss(free: Any) -> Float[Array, ""]:
            score = lambda x: network.apply(_whole(fixed, free), x)[0][:, 0]
            return bradley_terry(score(both[0]), score(both[1])).mean()

        updates, state = optimizer.update(jax.grad(loss)(free), state, free)
        return optax.apply_updates(free, updates), state

    state, pairs = optimizer.init(free), np.stack([chosen, rejected])
    orders = _orders(len(chosen), min(batch_size, len(chosen)), steps, seed)
    for index in progress(orders, "steps of the taste"):
        free, state = step(free, state, pairs[:, index])
    params: Any = jax.device_get(_whole(fixed, free))
    taste = Classifier(network, params, chosen.shape[1:], accuracy=0.0)
    apart = np.subtract(*(taste.logits(x)[:, 0] for x in held_out)) if len(held_out[0]) else 0.0
    return Classifier(network, params, taste.image_shape, float(np.mean(apart > 0)))


def _begun(features: Any, example: Pictures, seed: int) -> tuple[Any, Params, set[str]]:
    """Returns a network of one output, its weights, and the names of those that are trained."""
    if features is None:
        network = ConvClassifier(classes=1)
        params = network.init(jax.random.key(seed), jnp.asarray(example))
        return network, params, set(flatten_dict(params, sep="/"))
    network, params = _features(features)
    of_one, of_two = (network.clone(classes=n) for n in (1, 2))
    shapes = [_shapes(each, example) for each in (of_one, of_two)]
    head = {name for name, shape in shapes[0].items() if shape != shapes[1][name]}
    zeros = {name: jnp.zeros(shapes[0][name]) for name in head}
    return of_one, _whole(flatten_dict(params, sep="/"), zeros), head


def _shapes(network: Any, example: Pictures) -> dict[str, tuple[int, ...]]:
    made: Any = jax.eval_shape(network.init, jax.random.key(0), example)
    leaves: Any = flatten_dict(made, sep="/")
    return {name: leaf.shape for name, leaf in leaves.items()}


def _features(features: str | Path | Classifier) -> tuple[Any, Params]:
    if isinstance(features, Classifier):
        return features.network, features.params
    if str(features).endswith(".npz"):
        found = Classifier.load(features)
        return found.network, found.params
    network, params = encoder_of_run(str(features))
    return network, {"params": params}


def _whole(fixed: Mapping[str, Any], free: Mapping[str, Any]) -> Params:
    return unflatten_dict({**fixed, **free}, sep="/")


def _orders(count: int, size: int, steps: int, seed: int) -> list[Int[np.ndarray, " b"]]:
    draw = np.random.default_rng(seed)
    return [draw.choice(count, size, replace=False) for _ in range(steps)]
