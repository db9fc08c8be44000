"""The protocol of a task: what is trained, as training sees it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float

from jaxdiff.typing import Draw, Metrics, Params
from jaxdiff.weights.devices import Devices
from jaxdiff.weights.table import Table

Weights = Mapping[str, Params]


class Losses(NamedTuple):
    """One loss for each player, values worth logging, and summaries for adaptive parts.

    Losses and values are [b], or [b, f] where each frame has a time of its own. Of the metrics,
    "logsnr" is the noise level of each, and "importance" the factor that a loss has because its
    time was drawn by importance.
    """

    by_player: Mapping[str, Float[Array, "b *frames"]]
    metrics: Metrics
    observed: Any = ()


@runtime_checkable
class Task(Protocol):
    """What is trained: its weights, its losses, and how samples are drawn from it.

    Attributes:
        fields: the batch's fields that go to the devices.
        players: the names of the weights that each loss trains.
        per_example: whether the losses of examples are independent, so that micro-batches add up.
    """

    fields: Sequence[str]
    players: Mapping[str, Sequence[str]]
    per_example: bool

    def table(self) -> Table:
        """Returns the task's weights."""

    def example(self, batch: int) -> dict[str, Any]:
        """Returns the shapes of a batch on the devices."""

    def prepare(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a batch, on the host, in which all fields are arrays."""

    def begin(self) -> Any:
        """Returns the first statistics of adaptive parts; {} without any."""

    def losses(
        self,
        weights: Weights,
        average: Weights,
        statistics: Any,
        batch: Mapping[str, Any],
        draw: Draw,
        step: Array,
        axis: str | None,
    ) -> Losses:
        """Returns the losses of a batch; `axis` is the mapped axis under pmap."""

    def absorb(self, statistics: Any, observed: Any) -> Any:
        """Returns the new statistics, from the mean summary of all batches."""

    def sampler(self, devices: Devices) -> "Draws":
        """Returns the function that draws samples; checks the config's options for it."""


@runtime_checkable
class Draws(Protocol):
    """Draws samples from weights, the same for a seed and an index in any batches."""

    def __call__(
        self, weights: Weights, num: int, cond: Mapping[str, Any] | None = None, **options: Any
    ) -> np.ndarray:
        """Returns samples [num, ...]."""
