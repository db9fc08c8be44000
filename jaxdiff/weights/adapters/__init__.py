"""Adapters: LoRA and its relatives, whose factors are trained while their base is frozen.

Their factors are an entry of the table of weights, trained and averaged like any other:

    --config.weights.network=runs/base --config.adapters.lora="LoRA(rank=4)"
"""

from jaxdiff.weights.adapters.base import Adapter
from jaxdiff.weights.adapters.low_rank import Difference, DoRA, LoHa, LoKr, LoRA

KIND = Adapter
"""The kind of objects that the names of this module build."""

__all__ = ["Adapter", "Difference", "DoRA", "LoHa", "LoKr", "LoRA"]
