"""The objective of a model that is sampled and not trained any more."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jaxtyping import Array, Float, Integer

from jaxdiff.options import Range, checked
from jaxdiff.typing import Cond, Draw, Metrics, Roles


@checked
@dataclass(frozen=True)
class Published:
    """No loss: says what a model has learned, where its teacher and its training are gone.

    `guided` is the guidance scale that is within its samples already.
    """

    learns: Literal["denoiser", "consistency", "flow map"] = "denoiser"
    guided: Annotated[float, Range()] = 1.0

    def __call__(
        self,
        roles: Roles,
        x0: Float[Array, "b *shape"],
        cond: Cond,
        draw: Draw,
        step: Integer[Array, ""],
    ) -> tuple[Any, Metrics]:
        """Raises ValueError: there is nothing to train on."""
        raise ValueError(
            "objective='Published' has no loss: the model is sampled only. To train it on, name"
            " its folder as weights.network of a run with another objective"
        )
