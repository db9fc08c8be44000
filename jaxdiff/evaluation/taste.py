"""How well samples please a taste, and how much of their variety is left."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdiff.config.build import Spec, build
from jaxdiff.objectives import rewards
from jaxdiff.options import Count, Size


@dataclass(frozen=True)
class Taste:
    """The mean reward of `num` samples, its deviation, and the variety of the samples.

    Tuning by a reward that finds a flaw of it raises the reward and lowers the variety: the two
    stand beside each other.
    """

    draw: Callable[..., np.ndarray]
    num_classes: Count
    reward: Spec = "Brightness"
    num: Size = 256

    def __post_init__(self):
        build(rewards, self.reward, rewards.KIND)

    def run(self, weights: Any, step: int) -> Iterator[tuple[str, Any]]:
        """Yields "reward", "reward_deviation" and "variety"."""
        labels = np.arange(self.num) * max(self.num_classes, 1) // self.num
        cond = {"label": labels} if self.num_classes else {}
        options = {} if cond else {"guidance_scale": 1.0}
        samples = self.draw(weights, self.num, cond, **options)
        found = np.asarray(build(rewards, self.reward)(samples, cond))
        yield "reward", float(found.mean())
        yield "reward_deviation", float(found.std())
        yield "variety", variety(samples, labels)


def variety(samples: Float[np.ndarray, "num *shape"], labels: np.ndarray) -> float:
    """Returns the root mean square distance of two samples of one class, per value."""
    flat = np.clip(samples.reshape(len(samples), -1), -1, 1)
    spread = [flat[labels == label].var(axis=0).mean() for label in np.unique(labels)]
    return float(np.sqrt(2 * np.mean(spread)))
