"""The protocol of adapters: functions of trees, `(base, factors) -> base`, unknown to networks."""

from typing import Protocol, runtime_checkable

from jaxtyping import Array, Key

from jaxdiff.typing import Params


@runtime_checkable
class Adapter(Protocol):
    """A change of some weights by trained factors; `of` is the name of the weights, "network"."""

    of: str

    def init(self, key: Key[Array, ""], base: Params) -> Params:
        """Returns the first factors for weights of these shapes; they should change nothing."""

    def apply(self, base: Params, factors: Params) -> Params:
        """Returns the changed weights, in the tree and the types of the base."""
