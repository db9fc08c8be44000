"""Adapters: functions of trees, `(base, factors) -> base`, that no network knows of.

LoRA factors merged into kernels, one new row of an embedding, a merge of two models: each is a
class with the name of the weights that it changes. Its own parameters, the factors, are an entry of
the table of weights, trained like any other; the base is frozen while it has an adapter.
"""

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


KIND = Adapter
"""The kind of objects that the names of this module build."""
