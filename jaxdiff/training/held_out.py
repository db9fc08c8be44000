"""The loss on held-out examples, with the same noise and times at every step."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxdiff.random import example_keys, stream
from jaxdiff.training.task import Task
from jaxdiff.typing import Draw, Params
from jaxdiff.weights.devices import Devices


@dataclass(frozen=True)
class HeldOut:
    """A task's mean loss on the first examples of a split: `held_out(weights, num, step)`."""

    task: Task
    devices: Devices
    batches: Callable[[], Iterator[Mapping[str, Any]]]
    batch_size: int

    def __call__(self, weights: Mapping[str, Params], num: int, step: int) -> float:
        """Returns the loss of whole batches, of at most `num` examples but at least one batch.

        The sum over players; adaptive parts have seen nothing yet, and curricula are at `step`.

        Raises:
            ValueError: the loss reads weights without an average, such as a fake score's.
        """
        entries = self.task.table().entries
        missing = [n for n, each in entries.items() if each.trained and n not in weights]
        if missing:
            raise ValueError(
                f"the loss reads {' and '.join(missing)}, of which no average is kept; leave"
                " HeldOutLoss out of evaluation.evaluators"
            )
        batches, count = self.batches(), max(num // self.batch_size, 1)
        fields = (*self.task.fields, "position")
        total = 0.0
        for index in range(count):
            batch = next(batches)
            batch = self.devices.spread({name: batch[name] for name in fields})
            key = jax.random.fold_in(stream(jax.random.key(0), "held out"), index)
            with self.devices.algorithms():
                total += float(self._loss(weights, self.task.begin(), batch, key, step))
        return total / count

    @functools.cached_property
    def _loss(self):
        def loss(weights, statistics, batch, key, step):
            keys = example_keys(key, batch["position"])
            draw = Draw(keys, (jax.random.uniform(key) + batch["position"] / len(keys)) % 1)
            found = self.task.losses(weights, weights, statistics, batch, draw, step, None)
            return sum(jnp.mean(each) for each in found.by_player.values())

        return jax.jit(loss)
