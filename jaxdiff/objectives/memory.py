"""A bank of examples by class, as large as the last ones that training has seen."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

from jaxdiff import options, random
from jaxdiff.options import FloatType, Size
from jaxdiff.trees import pytree
from jaxdiff.typing import REMEMBERED, Draw, Metrics


@pytree()
@dataclass(frozen=True)
class MemoryBank:
    """The last `size` examples of each class; part of the training state, and of checkpoints.

    Attributes:
        shape: of an example.
        num_classes: 1 where there are no labels.
        size: the most examples of a class.
        dtype: in which examples are kept.
    """

    shape: tuple[Size, ...]
    num_classes: Size
    size: Size
    dtype: FloatType = "float32"
    statistics: options.Learned = None

    def begin(self) -> dict[str, Any]:
        """Returns an empty bank, and how many examples of each class it has ever been given."""
        places = (self.num_classes, self.size)
        return {
            "examples": jnp.zeros((*places, *self.shape), self.dtype),
            "given": jnp.zeros(self.num_classes, jnp.int32),
        }

    def bind(self, statistics: Any) -> "MemoryBank":
        """Returns the bank with these contents."""
        return replace(self, statistics=statistics)

    def observe(self, draw: Draw, loss: Float[Array, " b"], metrics: Metrics) -> Any:
        """Returns what `absorb` is to put into the bank, the metric "remembered"."""
        return metrics[REMEMBERED]

    def absorb(self, observed: Any) -> dict[str, Any]:
        """Returns the contents with new examples in the place of each class's oldest.

        Of a batch that has more than `size` of a class, the last are kept.
        """
        x, label = observed["x"].astype(self.dtype), observed["label"]
        bank = self.begin() if self.statistics is None else self.statistics
        same = label[:, None] == label[None]
        earlier = jnp.tril(same, -1).sum(axis=1)
        later = jnp.triu(same, 1).sum(axis=1)
        place = (bank["given"][label] + earlier) % self.size
        place = jnp.where(later < self.size, place, self.size)  # out of range: dropped
        examples = bank["examples"].at[label, place].set(x, mode="drop")
        given = bank["given"].at[label].add(1)
        # Counting on beyond the size, but not beyond integers.
        given = jnp.where(given >= 2 * self.size, given - self.size, given)
        return {"examples": examples, "given": given}

    def draw(
        self, keys: Key[Array, " b"], label: Integer[Array, " b"], count: int
    ) -> Float[Array, "b count *shape"]:
        """Returns `count` examples of each label, none twice unless there are fewer.

        Of a class that the bank has never seen, they are zeros.
        """
        bank = self.begin() if self.statistics is None else self.statistics
        known = jnp.minimum(bank["given"], self.size)

        def places(key: Array, known: Array) -> Integer[Array, " count"]:
            u = jax.random.uniform(key, (self.size,))
            order = jnp.argsort(jnp.where(jnp.arange(self.size) < known, u, 2.0))
            return order[jnp.arange(count) % jnp.maximum(known, 1)]

        chosen = jax.vmap(places)(random.stream(keys, "memory"), known[label])
        return bank["examples"][label[:, None], chosen].astype(jnp.float32)
